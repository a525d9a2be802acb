"""The way back: the restore queue, and undo."""
