"""The values that every part of the program shares. Frozen, without behaviour that does I/O."""

from reconciler.model.control import *
from reconciler.model.deletion import *
from reconciler.model.enums import *
from reconciler.model.explained import *
from reconciler.model.history import *
from reconciler.model.jobs import *
from reconciler.model.lineage import *
from reconciler.model.marks import *
from reconciler.model.objects import *
from reconciler.model.outbox import *
from reconciler.model.passes import *
from reconciler.model.quarantine import *
from reconciler.model.quotas import *
from reconciler.model.records import *
from reconciler.model.recovery import *
from reconciler.model.replicas import *
from reconciler.model.reports import *
from reconciler.model.rules import *
from reconciler.model.sanity import *
from reconciler.model.serving import *
from reconciler.model.shapes import *
from reconciler.model.statistics import *
from reconciler.model.store import *
from reconciler.model.surveyed import *
from reconciler.model.trends import *
from reconciler.model.verdicts import *
