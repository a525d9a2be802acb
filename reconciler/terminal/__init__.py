"""What people and scripts see: tables, machine formats, and a progress bar. Nothing here acts."""
