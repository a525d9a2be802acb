"""The settings as a person reads them: value, default, source and meaning; secrets masked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel, SecretStr

from reconciler.model import KeyShape, OwnerFrom, ValueFrom
from reconciler.model.durations import duration_text
from reconciler.settings.load import mask
from reconciler.settings.names import Path, SettingSpec, leaves
from reconciler.settings.origins import Loaded, Origin, Source
from reconciler.settings.schema import Settings

WITHOUT: Mapping[Path, str] = {("max_deletes_per_second",): "unlimited"}
"""How None is written, where it is a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingReport:
    """One setting. `name` is the environment variable's, `key` that of the YAML files (`breaker.max_count`).

    `value` and `default` are as they are written in YAML; `required` has no default. `runtime`: the
    runtime file may set it.
    """

    name: str
    key: str
    value: object
    default: object
    required: bool
    runtime: bool
    origin: Origin
    leaf: SettingSpec

    @property
    def meaning(self) -> str:
        return " ".join(self.leaf.meaning.split())


def tell(loaded: Loaded[Settings]) -> Sequence[SettingReport]:
    """Every setting, in the order in which they are declared."""
    return [
        SettingReport(
            name=leaf.name,
            key=".".join(path),
            value=written_at(loaded.settings, path),
            default=None
            if leaf.field.is_required()
            else _written(path, leaf.field.get_default(call_default_factory=True)),
            required=leaf.field.is_required(),
            runtime=leaf.runtime,
            origin=loaded.origins[path],
            leaf=leaf,
        )
        for path, leaf in leaves().items()
    ]


def origin_text(origin: Origin) -> str:
    """Where a value came from: "the environment", "the runtime file /etc/reconciler/runtime.yaml"."""
    kind = {
        Source.DEFAULT: "default",
        Source.FILE: "the file",
        Source.ENVIRONMENT: "the environment",
        Source.SECRET_FILE: "the secret file",
        Source.RUNTIME_FILE: "the runtime file",
    }[origin.source]
    return f"{kind} {origin.where}".rstrip()


def sources(origins: Mapping[Path, Origin]) -> Mapping[str, Source]:
    """The source of each setting's value, by the setting's name in YAML."""
    return {".".join(path): origin.source for path, origin in origins.items()}


def overridden(settings: Sequence[SettingReport]) -> Sequence[str]:
    """One line for each value of the environment that the runtime file overrides."""
    return [
        f"{each.name} is set in the environment and in {each.origin.where}, which wins: {shown(each.value)}"
        for each in settings
        if each.origin.source is Source.RUNTIME_FILE
        and any(below.source is Source.ENVIRONMENT for below in each.origin.over)
    ]


def pinned(settings: Sequence[SettingReport]) -> Sequence[str]:
    """One line for each value of the static file that a variable of the environment overrides."""
    return [
        f"{each.name} in the environment wins over {below.where}: {shown(each.value)}"
        for each in settings
        for below in each.origin.over
        if each.origin.source is Source.ENVIRONMENT and below.source is Source.FILE
    ]


def written_at(settings: BaseModel, path: Path) -> object:
    """The value as YAML has it."""
    found: object = settings
    for part in path:
        found = getattr(found, part)
    return _written(path, found)


def shown(value: object) -> str:
    """A value as YAML has it, on one line; "-" for none."""
    if value is None:
        return "-"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _written(path: Path, value: object) -> object:
    if value is None:
        return WITHOUT.get(path)
    if isinstance(value, BaseModel):
        given = [name for name in type(value).model_fields if name in value.model_fields_set]
        return {name: _written((), getattr(value, name)) for name in given}
    if isinstance(value, Mapping):
        return {name: _written((), each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_written((), each) for each in value]
    return _written_alone(value)


def _written_alone(value: object) -> object:
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, SecretStr):
        return mask(value.get_secret_value())
    if isinstance(value, KeyShape):
        return value.pattern
    if isinstance(value, OwnerFrom | ValueFrom):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
