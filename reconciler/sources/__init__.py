"""Lists of a bucket that somebody else made, compared with the rows on local disk.

The only package that names duckdb, pyarrow and pyiceberg, of an extra of their own: it imports them late.
"""
