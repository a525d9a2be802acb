"""Passes: their marks, their caps, and what people decide about them."""
