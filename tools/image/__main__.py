"""Build the image without a registry, or take its steps without one, and run the result as a pod is run."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.embedded.client import ServerFailed
from tools.image import built
from tools.image.jail import Jail, possible
from tools.image.program import Program, from_image, from_wheel
from tools.image.running import CheckFailed
from tools.image.steps import confined, site, works


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tools.image", description=__doc__)
    choice = arguments.add_mutually_exclusive_group()
    choice.add_argument("--image", action="store_true", help="fail where the image cannot be built")
    choice.add_argument("--without-image", action="store_true", help="take the same steps without one")
    asked = arguments.parse_args()
    if not possible():
        tell("NOT CHECKED: only a root that may mount can build an image here, or make its root read-only")
        return 1 if asked.image else 0
    missing = [package for package in built.PACKAGES if shutil.which(package) is None]
    if asked.image and missing:
        tell(f"the image needs Debian's {', '.join(missing)}: apt-get install {' '.join(missing)}")
        return 1
    make = from_wheel if asked.without_image or missing else from_image
    try:
        with scratch() as directory, make(directory, tell) as program:
            check(program, directory)
    except (CheckFailed, ServerFailed) as error:
        tell(f"FAILED: {error}")
        return 1
    return 0


def check(program: Program, directory: Path) -> None:
    """Raises CheckFailed."""
    root = directory / "root"
    root.mkdir()
    jail = Jail(
        source=program.root,
        root=root,
        user=program.user,
        environment=program.environment,
        shown=program.shown,
    )
    confined(jail, program.python, tell, bare=program.bare)
    with site() as servers:
        works(jail, program.command, servers, tell)
    tell("all of it held")


@contextmanager
def scratch() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


_began = time.monotonic()


def tell(line: str) -> None:
    print(f"{time.monotonic() - _began:6.1f} s  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
