"""Lease, fencing, pause, budget, and the identity of this site."""
