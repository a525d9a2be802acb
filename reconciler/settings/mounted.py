"""Values in separate files, as Kubernetes mounts a Secret."""

from collections.abc import Callable, Container, Mapping
from pathlib import Path as FilePath
from urllib.parse import parse_qsl, urlsplit

from reconciler.settings import addresses
from reconciler.settings.names import Path, variable
from reconciler.settings.origins import Layers, Source, Written
from reconciler.settings.schema import DatabaseSettings

SECRET_FILES: Mapping[Path, Path] = {("database_url",): ("database_url_file",)}
"""Settings that may be in a separate file, and the setting that names it."""


CREDENTIALS = frozenset({"user", "password", "passfile"})
"""Parameters of a database's URL that say who connects, and not to what; so do those that begin with ssl."""


def read_secrets(layers: Layers, wanted: Container[Path], known: Mapping[Path, str]) -> None:
    """Put the values from the named files, for the settings that are `wanted`.

    Those in `known` are not read again.
    """
    for path, by_file in SECRET_FILES.items():
        named, direct = layers.values.get(by_file), layers.values.get(path)
        if path not in wanted or named is None or not isinstance(named.raw, str) or not named.raw:
            continue
        if direct is not None:
            layers.faults.append(f"{variable(path)} and {variable(by_file)} are both set: unset one of them")
        elif path in known:
            layers.put(path, Written(raw=known[path], source=Source.SECRET_FILE, where=named.raw))
        else:
            _read(layers, path, by_file, named.raw)


def _read(layers: Layers, path: Path, by_file: Path, file: str) -> None:
    try:
        layers.put(path, Written(raw=read_secret(file), source=Source.SECRET_FILE, where=file))
    except (OSError, UnicodeDecodeError) as error:
        layers.faults.append(
            f"{variable(by_file)}={file}: cannot be read ({why(error)}); name a file that holds the value"
            f" of {variable(path)} alone"
        )
        layers.unread.add(path)


def read_secret(file: str) -> str:
    """The value that a file holds, without the line's end. Raises OSError, UnicodeDecodeError."""
    return FilePath(file).read_text(encoding="utf-8").rstrip("\r\n")


def database_url_now(
    settings: DatabaseSettings, *, warn: Callable[[str], None] = lambda _: None
) -> Callable[[], str] | None:
    """A function that reads the database's URL from its file at each call; None where no file is named.

    A file that cannot be read or used just now leaves the last good URL in force. So does one that names
    another database: connections to two at once would take the lease in one, and find no rows in the
    other. `warn` is then called once.
    """
    file, last = settings.database_url_file, settings.database_url.get_secret_value()
    if file is None:
        return None
    refused = ""

    def read() -> str:
        nonlocal last, refused
        try:
            fresh = addresses.database_url(read_secret(file))
        except (OSError, ValueError):
            return last
        if _place(fresh) == _place(last):
            last, refused = fresh, ""
        elif fresh != refused:
            refused = fresh
            warn(f"{file} names another database now, which takes a restart; connections stay with the first")
        return last

    return read


def _place(url: str) -> tuple[object, ...]:
    """The parts of a URL without the credentials: server, port, database and parameters."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query)
    parameters = [pair for pair in query if pair[0] not in CREDENTIALS and not pair[0].startswith("ssl")]
    return parts.hostname, parts.port, parts.path, sorted(parameters)


def why(error: OSError | UnicodeDecodeError) -> str:
    """Why a file could not be read, in a few words."""
    return (error.strerror or "it cannot be opened") if isinstance(error, OSError) else "it is not UTF-8"
