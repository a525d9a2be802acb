"""The gateway's tables: how they are mapped, inspected, read, locked and guarded."""
