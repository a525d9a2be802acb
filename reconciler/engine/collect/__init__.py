"""Apply: claim what was marked, delete it, confirm, and purge what was kept."""
