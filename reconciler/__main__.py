"""`python -m reconciler` is the command `reconciler`."""

import sys

from reconciler.cli import main

sys.exit(main())
