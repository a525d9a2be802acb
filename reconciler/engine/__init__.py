"""The engine: passes that mark, the one collector that deletes, and the lease they run under."""
