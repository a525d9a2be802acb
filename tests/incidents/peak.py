"""`python -m tests.incidents.peak FILE COMMAND…`: the most memory that it held goes to the file, in KiB.

The kernel's count of this program alone: what a parent learns of its children starts at its own size.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from reconciler import cli


def main() -> int:
    file, *command = sys.argv[1:]
    status = cli.main(command)
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    Path(file).write_text(found[1])
    return status


if __name__ == "__main__":
    sys.exit(main())
