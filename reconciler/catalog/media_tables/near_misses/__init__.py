"""Near misses: orphans whose key a row spells otherwise. The database compares them, in any number."""
