"""The names of settings: in the environment, in YAML, and those that Kubernetes puts in the way."""

import ast
import difflib
import functools
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from reconciler.settings.schema import Settings
from reconciler.settings.types import MayBeEmpty, Runtime

PREFIX = "RECONCILER_"
CONFIG_FILE = "RECONCILER_CONFIG_FILE"
RUNTIME_FILE = "RECONCILER_RUNTIME_FILE"

Path: TypeAlias = tuple[str, ...]

# A Service called "reconciler" or "reconciler-x" makes the kubelet inject these in its namespace:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_LINK = re.compile(
    r"RECONCILER_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
SERVICE_PORT = re.compile(r"RECONCILER_(?:[A-Z0-9_]+_)?PORT")
SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSpec:
    """One setting that has a value of its own."""

    path: Path
    field: FieldInfo
    model: type[BaseModel]
    runtime: bool

    @property
    def may_be_empty(self) -> bool:
        return any(isinstance(entry, MayBeEmpty) for entry in self.field.metadata)

    @property
    def name(self) -> str:
        return variable(self.path)

    @property
    def meaning(self) -> str:
        """The docstring below the field."""
        return _docstrings(self.model)[self.path[-1]]


@functools.cache
def _docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """Those of the model's fields, from its source: where pydantic reads them, a start takes 60 ms more."""
    base = model.__base__
    found = dict(_docstrings(base)) if base and getattr(base, "model_fields", None) else {}
    (declared,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(declared, ast.ClassDef)
    for field, below in pairwise(declared.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def variable(path: Path) -> str:
    """The environment variable of a setting: ("bucket", "name") is RECONCILER_BUCKET__NAME."""
    return PREFIX + "__".join(path).upper()


def leaves(
    model: type[BaseModel] = Settings, at: Path = (), *, runtime: bool = False
) -> Mapping[Path, SettingSpec]:
    """Every setting of the model and its sections, by path."""
    found: dict[Path, SettingSpec] = {}
    for name, field in model.model_fields.items():
        path = (*at, name)
        live = runtime or any(isinstance(entry, Runtime) for entry in field.metadata)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= leaves(field.annotation, path, runtime=live)
        else:
            found[path] = SettingSpec(path=path, field=field, model=model, runtime=live)
    return found


def sections(known: Mapping[Path, SettingSpec]) -> frozenset[Path]:
    """The paths that only lead to settings."""
    return frozenset(path[:depth] for path in known for depth in range(1, len(path)))


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes injected this variable for a Service."""
    if SERVICE_LINK.fullmatch(name):
        return True
    return bool(SERVICE_PORT.fullmatch(name) and SERVICE_URL.fullmatch(value))


def suggestion(unknown: str, known: Iterable[str]) -> str:
    """` (did you mean …?)` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(unknown, list(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""
