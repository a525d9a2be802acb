"""The HTTP side: metrics and probes."""
