"""Figures, not tests: `python -m tools.benchmarks` runs them; pytest collects none of it."""
