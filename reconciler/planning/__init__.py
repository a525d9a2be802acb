"""Pure decisions: what agrees, what ought to go, whether it may. Nothing here awaits, logs or reads a clock."""
