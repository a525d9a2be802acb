"""The protocols that the engine needs of a bucket, a catalog, a clock and its observers, kept narrow.

Adapters raise only the errors of `reconciler.errors`; each retries once, bounded, on its own side.
"""

from reconciler.ports.bucket import *
from reconciler.ports.erasures import *
from reconciler.ports.hints import *
from reconciler.ports.inventories import *
from reconciler.ports.jobs import *
from reconciler.ports.leadership import *
from reconciler.ports.marks import *
from reconciler.ports.observing import *
from reconciler.ports.outbox import *
from reconciler.ports.passes import *
from reconciler.ports.recovery import *
