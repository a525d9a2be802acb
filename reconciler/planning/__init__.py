"""Pure decisions: what agrees, what should be deleted, and whether it may be. No await, log or clock here."""
