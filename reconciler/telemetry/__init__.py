"""What the program says of itself: metrics, logs, and the progress that the probes read."""
