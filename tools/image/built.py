"""The Dockerfile, built by Debian's buildah on a base that stands in for the one of the registry.

The stand-in is the same Debian with the same minor version of Python, which it shows in `/usr/local`, as the
official image does. It carries the tag that the Dockerfile names, and it is named by its digest too, so that
what is built here went through the pin.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.leftovers import ROOT
from tools.image.index import Index
from tools.image.running import require, run

PACKAGES = ("buildah", "mmdebstrap")
VERSION, REVISION = "0.0.0+test", "0123456789abcdef"
TAG = "localhost/media-reconciler:test"
_SUITE = "trixie"
_MIRROR = "http://deb.debian.org/debian"


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildah:
    """With a store of its own below the directory, and without a container runtime."""

    directory: Path

    def __call__(self, *argv: str, env: Mapping[str, str] | None = None) -> str:
        place = ("--root", f"{self.directory}/store", "--runroot", f"{self.directory}/run")
        return run(
            ["buildah", *place, "--storage-driver", "vfs", *argv],
            env={**os.environ, "BUILDAH_ISOLATION": "chroot", **(env or {})},
            cwd=ROOT,
        ).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A built image. `configuration` is the OCI one, `docker` what Docker would read."""

    configuration: Mapping[str, Any]
    docker: Mapping[str, Any]
    root: Path
    base_digest: str


def build_base(buildah: Buildah, directory: Path) -> str:
    """Make the stand-in and give it the name that the Dockerfile asks for. Returns its digest."""
    root = directory / "base"
    run(
        [
            *("mmdebstrap", "--mode=root", "--variant=extract", "--format=directory"),
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
            "--include=bash,ca-certificates,coreutils,dash,grep,libc-bin,libstdc++6,python3-venv,sed",
            "--aptopt=APT::Install-Recommends false",
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "locale", "man")),
            *(_SUITE, str(root), _MIRROR),
        ]
    )
    # What the package's own script would do; none of them are run, which saves most of the time.
    authorities = sorted((root / "usr/share/ca-certificates").glob("*/*.crt"))
    bundle = "".join(path.read_text() for path in authorities)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text(bundle)
    run(
        ["chroot", str(root), "/usr/bin/python3", "-m", "venv", "/usr/local"],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, str(root), "/")
    buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", "--cmd", "python3", container)
    name = f"docker.io/library/python:{_tag()}"
    buildah("commit", "--quiet", "--rm", container, name)
    return buildah("images", "--format", "{{.Digest}}", name)


def _tag() -> str:
    found = re.search(r"^ARG PYTHON_TAG=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found, "the Dockerfile names no PYTHON_TAG"
    return found[1]


def build(buildah: Buildah, index: Index, digest: str) -> Image:
    """Build the Dockerfile for the digest, and mount what came of it."""
    secrets = {"pip": index.configuration, "certificates": index.certificates}
    handed = [f"--secret=id={name},src={path}" for name, path in secrets.items() if path]
    arguments = {"PYTHON_DIGEST": digest, "VERSION": VERSION, "REVISION": REVISION}
    told = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    # As Docker's format: that one has a place for a health check, which there must not be.
    buildah("build", "--pull-never", "--format=docker", "--quiet", *told, *handed, f"--tag={TAG}", ".")
    inspected = json.loads(buildah("inspect", "--type", "image", TAG))
    root = buildah("mount", buildah("from", "--pull-never", TAG))
    return Image(
        configuration=inspected["OCIv1"]["config"],
        docker=inspected["Docker"]["config"],
        root=Path(root),
        base_digest=digest,
    )


def discard(buildah: Buildah) -> None:
    """Let go of the mounts, so that the directory can be removed."""
    with suppress(subprocess.SubprocessError, OSError):
        buildah("umount", "--all")


def inspect(image: Image) -> None:
    """What can be seen of the image without running it."""
    configuration = image.configuration
    labels = configuration["Labels"]
    wanted = {"version": VERSION, "revision": REVISION, "base.digest": image.base_digest}
    for name, value in wanted.items():
        require(labels.get(f"org.opencontainers.image.{name}") == value, f"label {name}: {labels}")
    user = configuration.get("User", "")
    require(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), f"USER is {user!r}, and has to be numbers")
    require(configuration["Entrypoint"] == ["reconciler"], f"ENTRYPOINT {configuration['Entrypoint']}")
    require(configuration["Cmd"] == ["run"], f"CMD {configuration['Cmd']}")
    require(not image.docker.get("Healthcheck"), "there is a HEALTHCHECK: probes are the platform's")
    kept = [path for path in _KEPT_BY_A_BUILD if (image.root / path).exists()]
    require(not kept, f"the build left {kept}")


_KEPT_BY_A_BUILD = ("source", "etc/pip.conf", "root/.cache", "run/secrets/pip", "run/secrets/certificates")
