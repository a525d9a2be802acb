"""Values that stand in files of their own, as Kubernetes mounts a Secret."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path as FilePath

from reconciler.settings.names import Path, variable
from reconciler.settings.origins import Layers, Source, Written

SECRET_FILES: Mapping[Path, Path] = {("database_url",): ("database_url_file",)}
"""Settings that may stand in a file of their own, and the setting that names it."""


def read_secrets(layers: Layers, wanted: Container[Path]) -> None:
    """Put the values of the files that are named, for those of the settings that are `wanted`."""
    for path, by_file in SECRET_FILES.items():
        named, beside = layers.values.get(by_file), layers.values.get(path)
        if path not in wanted or named is None or not isinstance(named.raw, str) or not named.raw:
            continue
        if beside is not None and beside.source is named.source:
            layers.faults.append(f"{variable(path)} and {variable(by_file)} are both set: unset one of them")
        elif beside is None or named.source is Source.ENVIRONMENT:
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


def why(error: OSError | UnicodeDecodeError) -> str:
    """Why a file could not be read, in a few words."""
    return (error.strerror or "it cannot be opened") if isinstance(error, OSError) else "it is not UTF-8"
