"""What developers run by hand: no part of the program, and of no package."""
