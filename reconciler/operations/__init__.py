"""What an operator can do, once: a shell and a program call the same functions.

They take the open catalog, or the ports of the engine, and return values or raise `NotDone`. They neither
print nor know how they were asked; `as_json` has the one form in which results are handed to programs.
"""
