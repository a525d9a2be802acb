"""Probe what the store can do, on scratch keys of our own: some stores accept what they do not honour."""

from reconciler.stores.s3.probing.prober import BucketProber
from reconciler.stores.s3.probing.scratch import SCRATCH_PREFIX

__all__ = ["SCRATCH_PREFIX", "BucketProber"]
