"""Install, test, upgrade, break, roll back and remove the chart on a real API server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reconciler.embedded.client import ServerFailed, start_supervisor
from tools.cluster.helm import helm_for
from tools.cluster.node import node
from tools.cluster.plane import start_plane
from tools.cluster.story import Story
from tools.image.__main__ import scratch, tell
from tools.image.jail import possible
from tools.image.program import from_image, from_wheel
from tools.image.running import CheckFailed
from tools.image.steps import site


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tools.cluster", description=__doc__)
    arguments.add_argument(
        "--programs",
        type=Path,
        required=True,
        metavar="DIRECTORY",
        help="where kube-apiserver and kube-controller-manager are",
    )
    arguments.add_argument("--image", action="store_true", help="run the pods from the built image")
    asked = arguments.parse_args()
    if not possible():
        tell("only a root that may mount can run pods")
        return 1
    try:
        play(asked.programs, image=asked.image)
    except (CheckFailed, ServerFailed) as error:
        tell(f"FAILED: {error}")
        return 1
    tell("all of it held")
    return 0


def play(programs: Path, *, image: bool) -> None:
    """Raises CheckFailed."""
    make = from_image if image else from_wheel
    with scratch() as directory, make(directory, tell) as program, site() as servers:
        directory.chmod(0o711)
        supervisor = start_supervisor()
        try:
            plane = start_plane(supervisor, programs)
            tell(f"etcd, kube-apiserver {plane.version} and kube-controller-manager are up")
            pods = directory / "pods"
            pods.mkdir()
            with node(plane.api, program, pods, tell) as here:
                helm = helm_for(plane.kubeconfig, directory)
                Story(api=plane.api, helm=helm, node=here, site=servers, tell=tell).play()
        finally:
            supervisor.close()


if __name__ == "__main__":
    sys.exit(main())
