"""Stores of objects, a package for each protocol that they speak."""
