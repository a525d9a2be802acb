"""S3 Inventory: where the newest complete one is, and what it says of itself."""
