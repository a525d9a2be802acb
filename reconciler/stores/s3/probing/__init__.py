"""Probe what the store can do, on scratch keys of our own: some stores accept what they do not honour."""
