"""What was deleted and can come back, until it is purged."""
