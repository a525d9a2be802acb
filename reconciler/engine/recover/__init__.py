"""Recovery: the restore queue, and undo."""
