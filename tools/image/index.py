"""The package index of this machine, for a build that must not keep it.

Only what is reached over the network is handed on: a directory of wheels on this machine is none inside.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.image.running import run

CERTIFICATES = "/run/secrets/certificates"
"""Where the Dockerfile mounts the authorities that the index is to be believed by."""
_PASSED_ON = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """`configuration` is a pip.conf, `certificates` a bundle of authorities or None for pip's own."""

    configuration: Path
    certificates: Path | None


def of_this_machine(directory: Path) -> Index:
    """Written into the directory, readable by us alone: an index's address may hold a password."""
    told: dict[str, str] = {}
    # Sorted by where it was set, so that the environment's settings win, as they do for pip.
    for line in sorted(_settings(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        told[name.rpartition(".")[2]] = " ".join(str(ast.literal_eval(value)).split())
    remote = {name: _remote(told[name]) for name in _PASSED_ON if name in told}
    certificates = Path(told["cert"]) if "cert" in told else None
    lines = ["[global]", *(f"{name} = {value}" for name, value in remote.items() if value)]
    if certificates:
        lines.append(f"cert = {CERTIFICATES}")
    configuration = directory / "pip.conf"
    configuration.touch(mode=0o600)
    configuration.write_text("\n".join(lines) + "\n")
    return Index(configuration=configuration, certificates=certificates)


def _settings() -> list[str]:
    return run([sys.executable, "-m", "pip", "config", "list"]).splitlines()


def _remote(value: str) -> str:
    return " ".join(part for part in value.split() if not part.startswith(("file:", "/")))
