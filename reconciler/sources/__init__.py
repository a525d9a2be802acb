"""Lists of a bucket that somebody else made, compared with the rows on local disk.

The only package that names duckdb and pyarrow, which come with an extra of their own: it imports them late.
"""
