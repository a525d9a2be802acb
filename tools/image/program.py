"""The program as the image has it, or as the Dockerfile's commands leave it on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.leftovers import ROOT
from tools.image import built
from tools.image.index import of_this_machine
from tools.image.running import run

Tell = Callable[[str], None]

USER = "65532:65532"
"""As in the Dockerfile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a container of the image starts from.

    `root` is its file system, `shown` what else has to be seen of this machine, `bare` whether that file
    system is the image's own. `command` is the entry point; `user` and `environment` are the image's.
    """

    root: Path
    user: str
    environment: Mapping[str, str]
    command: str
    python: str
    bare: bool
    shown: Sequence[Path] = ()


@contextmanager
def from_image(directory: Path, tell: Tell) -> Iterator[Program]:
    """What the Dockerfile makes. The directory gets buildah's store."""
    buildah = built.Buildah(directory=directory)
    try:
        digest = built.build_base(buildah, directory)
        tell(f"a base that stands in for the registry's, {digest[:19]}…")
        image = built.build(buildah, of_this_machine(directory), digest)
        tell("the Dockerfile, built on it by buildah")
        built.inspect(image)
        tell("labels, user and entry point as they should be; no HEALTHCHECK; nothing of the index was kept")
        yield Program(
            root=image.root,
            user=image.configuration["User"],
            environment=dict(name.split("=", 1) for name in image.configuration["Env"]),
            command=image.configuration["Entrypoint"][0],
            python="/opt/reconciler/bin/python",
            bare=True,
        )
    finally:
        built.discard(buildah)


@contextmanager
def from_wheel(directory: Path, tell: Tell) -> Iterator[Program]:
    """The Dockerfile's commands in the directory, for machines that cannot build an image."""
    tell("WITHOUT an image: the Dockerfile's commands on this machine, whose root is shown read-only")
    place = directory / "reconciler"
    python = f"{place}/bin/python"
    run([sys.executable, "-m", "venv", "--without-pip", str(place)])
    quiet = ("--quiet", "--disable-pip-version-check", "--no-compile")
    run([sys.executable, "-m", "pip", "--python", python, "install", *quiet, f"{ROOT}[events,otel]"])
    run([python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", f"{place}/lib"])
    tell("a virtual environment without pip, from the wheel")
    yield Program(
        root=Path("/"),
        user=USER,
        environment={
            "PATH": f"{place}/bin:{os.defpath}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        },
        command=f"{place}/bin/reconciler",
        python=python,
        bare=False,
        # The interpreter may lie in a home that is closed.
        shown=(place, Path(sys.base_prefix)),
    )
