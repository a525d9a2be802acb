"""Pure decisions: what agrees, what ought to go, and whether it may. No await, log or clock here."""
