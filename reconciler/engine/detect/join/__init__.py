"""Comparing the bucket with the rows: the ordered join, and the one that needs no order.

Both list first and read rows after, so that a row that appears in between protects its object.
Neither writes: what they find goes to a sink, a page at a time, in memory O(page x ranges).
"""
