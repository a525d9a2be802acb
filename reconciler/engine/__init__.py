"""The loop: passes that mark, one collector that deletes, and the lease they run under."""
