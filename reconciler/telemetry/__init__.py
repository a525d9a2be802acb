"""What the program reports about itself: metrics, logs, traces, and the progress that probes read."""
