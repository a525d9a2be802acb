"""Runs a program below a root directory as a pod of the Restricted profile would: on Linux, as root only.

The root is read-only, `/tmp` alone is writable and empty, the user is a number without a name, capabilities
and the way back to them are gone, and the program is the first process of a namespace of its own. What is
not imitated: a network, a host name and a limit of memory of its own, and seccomp.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from tools.image.running import CheckFailed

_DEVICES = ("null", "zero", "full", "random", "urandom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a program ended, and what it wrote."""

    status: int
    out: str
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or directory of this machine at another path inside."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Jail:
    """`source` is seen as the root, by way of the empty directory `root`.

    `user` is `uid:gid`. `environment` is what every program in it gets. `shown` are directories of this
    machine that have to be seen although `/tmp` is empty inside, and home directories closed. `mounts` may
    be anywhere if there is a `layer`, a directory for the mount points that the source lacks; without one
    there are none. A mount on `/tmp` stands in for the empty one.
    """

    source: Path
    root: Path
    user: str
    environment: Mapping[str, str]
    shown: Sequence[Path] = ()
    mounts: Sequence[Mount] = ()
    layer: Path | None = None

    def start(
        self, argv: Sequence[str], env: Mapping[str, str], output: IO[str] | int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """The program as the only child of what is returned, where `terminate` finds it."""
        into = ("chroot", f"--userspec={self.user}", "--groups=", str(self.root))
        enter = f"exec {_command('setpriv', '--no-new-privs')} {_command(*into)} {shlex.join(argv)}"
        script = "\n".join(["set -eu", *self._commands(), enter])
        return subprocess.Popen(
            [_found("unshare"), "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            env={**self.environment, **env},
            cwd="/",
        )

    def run(self, argv: Sequence[str], env: Mapping[str, str]) -> Ran:
        """To its end."""
        started = self.start(argv, env)
        try:
            out, told = started.communicate(timeout=100)
        finally:
            started.kill()
        return Ran(status=started.returncode, out=out, told=told)

    def _commands(self) -> Iterator[str]:
        """What builds the root, in a mount namespace that ends with the program."""
        yield self._begin()
        if not any(mount.target == "/tmp" for mount in self.mounts):
            yield self._mount("tmpfs", "mode=1777,nosuid,nodev", "tmp")
        for mount in self.mounts:
            yield from self._bind(mount)
        for path in self.shown:
            if closed := _closed_parent(path):
                yield self._mount("tmpfs", "mode=755", closed.relative_to("/"))
            yield from self._bind(Mount(source=path, target=str(path)))
        yield self._mount("proc", "nosuid,nodev,noexec", "proc")
        yield self._mount("tmpfs", "mode=755,nosuid", "dev")
        for device in _DEVICES:
            node = f"/dev/{device}"
            yield from self._bind(Mount(source=Path(node), target=node, writable=True))
        yield _command("mount", "-o", "remount,bind,ro", str(self.root))

    def _mount(self, kind: str, options: str, where: str | Path) -> str:
        return _command("mount", "-t", kind, "-o", options, kind, str(self.root / where))

    def _begin(self) -> str:
        if self.layer is None:
            return _command("mount", "--bind", str(self.source), str(self.root))
        upper, work = self.layer / "upper", self.layer / "work"
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(exist_ok=True)
        layers = f"lowerdir={self.source},upperdir={upper},workdir={work}"
        return _command("mount", "-t", "overlay", "-o", layers, "overlay", str(self.root))

    def _bind(self, mount: Mount) -> Iterator[str]:
        inside = self.root / mount.target.lstrip("/")
        if mount.source.is_dir():
            yield _command("mkdir", "-p", str(inside))
        else:
            yield _command("mkdir", "-p", str(inside.parent))
            yield _command("touch", str(inside))
        yield _command("mount", "--bind", str(mount.source), str(inside))
        if not mount.writable:
            yield _command("mount", "-o", "remount,bind,ro", str(inside))


def possible() -> bool:
    """Whether this machine lets us build one: containers often have a root that may not mount."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        return False
    mount = [unshare, "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _command(program: str, *argv: str) -> str:
    """A line of the script, which runs with the environment of the program in the jail."""
    return shlex.join([_found(program), *argv])


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise CheckFailed(f"no `{program}` on this machine (Debian: util-linux, mount, coreutils)")
    return path


def ask_to_end(started: subprocess.Popen[str]) -> None:
    """SIGTERM to the program itself, as the kubelet sends it; nothing where it has ended."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(started.pid).children():
            child.terminate()


def terminate(started: subprocess.Popen[str]) -> Ran:
    """SIGTERM, and the program's end."""
    ask_to_end(started)
    out, told = started.communicate(timeout=60)
    return Ran(status=started.returncode, out=out, told=told)


def _closed_parent(path: Path) -> Path | None:
    """The outermost directory above it that strangers may not enter; `/tmp` is another one inside."""
    outside = [parent for parent in reversed(path.parents) if not parent.is_relative_to("/tmp")]
    closed = (parent for parent in outside if not parent.stat().st_mode & stat.S_IXOTH)
    return next(closed, None)
