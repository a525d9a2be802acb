"""Detect and plan: passes that compare both sides and mark what drifted."""
