"""What the store can do, found out on scratch keys of our own: some stores say yes and mean no."""

from reconciler.bucket.probing.prober import BucketProber
from reconciler.bucket.probing.scratch import SCRATCH_PREFIX

__all__ = ["SCRATCH_PREFIX", "BucketProber"]
