"""What a reader's shell makes of the commands in the runbooks, with a stand-in for kubectl."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.alerts.pages import INDEX, page

REPOSITORY = Path(__file__).parent.parent.parent
LINE, BETWEEN = "line ", "\x1f"
BY_NAME = "say(event,"
"""How a module logs that has its events as constants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one command asked of kubectl. `pod` is what it ran in a pod, as the arguments of `reconciler`."""

    command: str
    calls: tuple[tuple[str, ...], ...]

    @property
    def pod(self) -> list[str]:
        for call in self.calls:
            if call[0] == "exec":
                program, *arguments = call[call.index("--") + 1 :]
                assert program == "reconciler", f"the image has no {program}"
                return arguments
        return []


def ask(commands: Sequence[str], scratch: Path, **variables: str) -> list[Asked]:
    """Run the commands in one bash, as somebody who has followed the index page. Raises where one fails."""
    program = Path(shutil.copy(Path(__file__).parent / "kubectl", scratch / "kubectl"))
    program.chmod(stat.S_IRWXU)
    calls, logs = scratch / "calls", scratch / "logs"
    calls.touch()
    logs.write_text("\n".join(events()))
    environment = {
        **{name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ},
        **variables,
        "USER": "ada",
        "PATH": f"{scratch}:/usr/bin:/bin",
        "KUBECTL_CALLS": str(calls),
        "KUBECTL_LOGS": str(logs),
    }
    script = ["set -euo pipefail", *page(INDEX).blocks("sh")]
    for number, command in enumerate(commands):
        script += [f'echo "{LINE}{number}" >>"$KUBECTL_CALLS"', command]
    ended = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    asked = _read(calls.read_text(), commands)
    assert ended.returncode == 0, f"{asked[-1].command}: {ended.stderr or 'nothing is found'}"
    return asked


def _read(text: str, commands: Sequence[str]) -> list[Asked]:
    _, *parts = re.split(rf"^{LINE}(?=\d+$)", text, flags=re.MULTILINE)
    made = []
    for part in parts:
        number, *calls = part.splitlines()
        made.append(
            Asked(command=commands[int(number)], calls=tuple(tuple(call.split(BETWEEN)) for call in calls))
        )
    return made


def events() -> Sequence[str]:
    """Every event that the program logs at info or above, from its source."""
    found: set[str] = set()
    for path in (REPOSITORY / "reconciler").rglob("*.py"):
        text = path.read_text()
        found.update(re.findall(r"log\.(?:info|warning|error)\(\s*\"([^\"]+)\"", text))
        if BY_NAME in text:
            found.update(re.findall(r'(?m)^[A-Z_]+ = "([^"]+)"$', text))
    return sorted(found)
