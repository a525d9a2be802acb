"""Figures, not tests: `python -m tests.benchmarks` runs them; pytest collects none of it."""
