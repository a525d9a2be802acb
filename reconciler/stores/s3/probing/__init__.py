"""What the store can do, found out on scratch keys of our own: some stores say yes and mean no."""

from reconciler.stores.s3.probing.prober import BucketProber
from reconciler.stores.s3.probing.scratch import SCRATCH_PREFIX

__all__ = ["SCRATCH_PREFIX", "BucketProber"]
