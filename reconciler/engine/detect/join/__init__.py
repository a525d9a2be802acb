"""Compare the bucket with the rows: the ordered join, and the one that needs no order.

Both list first and read rows after, so that a row which appears in between protects its object.
Neither writes: findings go to a sink, page by page. Memory: O(page x ranges).
"""
