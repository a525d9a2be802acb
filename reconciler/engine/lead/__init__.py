"""Whether this replica may act here: lease, ownership of the bucket, seal, and what the store can do."""
