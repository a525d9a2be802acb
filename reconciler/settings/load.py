"""Reading the settings: defaults, under the file, under the environment, under the runtime file."""

import os
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeVar, overload
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from reconciler.errors import ConfigError
from reconciler.settings.mounted import read_secrets, why
from reconciler.settings.names import (
    CONFIG_FILE,
    PREFIX,
    RUNTIME_FILE,
    Path,
    SettingSpec,
    is_service_link,
    leaves,
    sections,
    suggestion,
    variable,
)
from reconciler.settings.origins import Layers, Loaded, Source, Written
from reconciler.settings.schema import SchemaSettings, Settings

S = TypeVar("S", bound=SchemaSettings)
Warn = Callable[[str], None]

KNOWN = leaves(Settings)
SECTIONS = sections(KNOWN)
ROW_FILTER_PATH = ("catalog", "media_where")
ROW_FILTER = variable(ROW_FILTER_PATH) + "__"
"""What begins the name of a variable that holds one column's value."""
FREE_TEXT = frozenset({("bucket", "prefixes"), ("bucket", "key_shape")})
"""Settings in which white space at either end may be meant."""
SHOWN = 80
"""Characters of a value that a message shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Contents that stand in for those of the files; None: read the file."""

    config: str | None = None
    runtime: str | None = None
    secrets: Mapping[Path, str] = field(default_factory=dict)
    """By the setting whose value stands in a file of its own."""


FROM_FILES = Overrides()


@overload
def load(environ: Mapping[str, str] | None = None, *, warn: Warn = ...) -> Settings: ...
@overload
def load(environ: Mapping[str, str] | None = None, *, kind: type[S], warn: Warn = ...) -> S: ...
def load(
    environ: Mapping[str, str] | None = None,
    *,
    kind: type[SchemaSettings] = Settings,
    warn: Warn = lambda _: None,
) -> SchemaSettings:
    """The settings, checked whole.

    `kind` may be a smaller class (`DatabaseSettings`): then only its settings must be there and are
    checked, though unknown names are found all the same, and only told where the runtime file has
    them. Raises ConfigError with one line for each fault.
    """
    return trace(environ, kind=kind, warn=warn).settings


def trace(
    environ: Mapping[str, str] | None = None,
    *,
    kind: type[S],
    texts: Overrides = FROM_FILES,
    warn: Warn = lambda _: None,
) -> Loaded[S]:
    """Load the settings, with where each value came from."""
    environ = os.environ if environ is None else environ
    layers = Layers()
    if path := environ.get(CONFIG_FILE):
        text = _read(path, CONFIG_FILE, layers) if texts.config is None else texts.config
        _read_yaml(path, text, layers, Source.FILE)
    _read_environment(environ, layers, warn)
    read_secrets(layers, leaves(kind), texts.secrets)
    if path := environ.get(RUNTIME_FILE):
        before = len(layers.faults)
        text = _read(path, RUNTIME_FILE, layers) if texts.runtime is None else texts.runtime
        _read_yaml(path, text, layers, Source.RUNTIME_FILE)
        if kind is not Settings:  # a typo there must not keep an operator from `pause`
            for fault in layers.faults[before:]:
                warn(f"{fault} (this command does without that file)")
            del layers.faults[before:]
    settings = _validate(kind, layers)
    if settings is None or layers.faults:
        raise ConfigError("\n".join(layers.faults))
    return Loaded(settings=settings, origins={path: layers.origin(path) for path in leaves(kind)})


def _read(path: str, name: str, layers: Layers) -> str | None:
    try:
        return FilePath(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        layers.faults.append(f"{name}={path}: cannot be read ({why(error)}); name a YAML file or unset it")
        return None


# --- the environment --------------------------------------------------------------------------------


def _read_environment(environ: Mapping[str, str], layers: Layers, warn: Warn) -> None:
    by_name = {leaf.name: leaf for leaf in KNOWN.values()}
    _read_row_filter(environ, layers)
    for name, raw in sorted(environ.items()):
        if not name.upper().startswith(PREFIX) or name.startswith(ROW_FILTER):
            continue
        if name in by_name:
            layers.put(by_name[name].path, Written(raw=raw, source=Source.ENVIRONMENT))
        elif name in {CONFIG_FILE, RUNTIME_FILE}:
            if not raw:
                layers.faults.append(f"{name} is empty: name a YAML file or unset it")
        elif is_service_link(name, raw):
            warn(f"{name} looks like a Kubernetes service link and is ignored; set enableServiceLinks: false")
        else:
            layers.faults.append(_unknown_variable(name, by_name))


def _read_row_filter(environ: Mapping[str, str], layers: Layers) -> None:
    """Read one variable per column. Its name has the column's exact case, as Postgres knows cases."""
    given = {
        name.removeprefix(ROW_FILTER): raw for name, raw in environ.items() if name.startswith(ROW_FILTER)
    }
    whole = variable(ROW_FILTER_PATH)
    if given and whole in environ:
        layers.faults.append(f"{whole} and {ROW_FILTER}{min(given)} are both set: unset one of them")
    elif given:
        layers.put(ROW_FILTER_PATH, Written(raw=given, source=Source.ENVIRONMENT))


def _unknown_variable(name: str, by_name: Mapping[str, SettingSpec]) -> str:
    # The value is not shown: a value without a meaning here may be a password.
    inside = [known for known in by_name if known.startswith(f"{name.upper()}__")]
    if inside:
        return f"{name}: is a group of settings; set {', '.join(inside[:3])}{' …' if len(inside) > 3 else ''}"  # noqa: PLR2004
    return f"{name}: no such setting{suggestion(name.upper(), [*by_name, CONFIG_FILE, RUNTIME_FILE])}"


# --- YAML -------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a name written twice instead of taking the last, and names the position of a
    value that it cannot read: PyYAML lets the errors of Python's own types through.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002
        try:
            return super().construct_object(node, deep=deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception:  # noqa: BLE001 - whatever a constructor trips over: ValueError, KeyError, IndexError
            problem = "a value that cannot be read as what it looks like; quote it"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        seen: set[object] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                problem = "a name that is no text; was a template left as it is?"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            key = key_node.value
            if key in seen:
                problem = f"{key!r} is set twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _read_yaml(path: str, text: str | None, layers: Layers, source: Source) -> None:
    if text is None:
        return
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        layers.faults.append(f"{path}: is not YAML: {_yaml_problem(error)}")
        return
    except RecursionError:
        layers.faults.append(f"{path}: is nested too deeply for settings")
        return
    if tree is None:
        if source is Source.RUNTIME_FILE:
            # An emptied or truncated file may have held dry run on: its former content is unknown.
            layers.faults.append(f"{path}: is empty; write its settings, or {{}} where it is to set nothing")
        return
    if not isinstance(tree, dict):
        layers.faults.append(f"{path}: must be a YAML mapping of lower-case names, such as dry_run: true")
        return
    _read_mapping(path, tree, (), layers, source)


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or 'unreadable'}{where}"


def _read_mapping(file: str, tree: Mapping[object, object], at: Path, layers: Layers, source: Source) -> None:
    for key, raw in tree.items():
        path = (*at, str(key))
        if path in KNOWN:
            if source is Source.RUNTIME_FILE and not KNOWN[path].runtime:
                layers.faults.append(
                    f"{variable(path)} ({file}): cannot change while the daemon runs;"
                    f" set it in the environment or in {CONFIG_FILE}"
                )
            else:
                layers.put(path, Written(raw=raw, source=source, where=file))
        elif path in SECTIONS:
            _read_section(file, raw, path, layers, source)
        else:
            near = suggestion(".".join(path).lower(), (".".join(known) for known in KNOWN))
            layers.faults.append(f"{file}: {'.'.join(path)}: no such setting{near}")


def _read_section(file: str, raw: object, path: Path, layers: Layers, source: Source) -> None:
    if isinstance(raw, dict):
        _read_mapping(file, raw, path, layers, source)
    elif raw is not None:  # a section whose lines are all commented out reads as null
        layers.faults.append(f"{file}: {'.'.join(path)}: must be a mapping of settings")


# --- checking ---------------------------------------------------------------------------------------


def _validate(kind: type[S], layers: Layers) -> S | None:
    wanted = leaves(kind)
    tree: dict[str, Any] = {name: {} for name in kind.model_fields if (name,) in SECTIONS}
    spoiled = set(layers.unread)
    for path, written in layers.values.items():
        if path not in wanted or path in spoiled:
            continue
        if trouble := _misspelt(path, written.raw):
            layers.faults.append(f"{_label(path, layers)}: {trouble}")
            spoiled.add(path)
        else:
            _put(tree, path, written.raw)
    try:
        return kind(**tree)
    except ValidationError as errors:
        for error in errors.errors(include_url=False):
            path = tuple(str(part) for part in error["loc"])
            if path not in spoiled:
                layers.faults.append(_fault(path, error["type"], str(error["msg"]), layers))
        return None


def _misspelt(path: Path, raw: object) -> str | None:
    """Faults of any setting: an empty value, or white space around it."""
    leaf = KNOWN[path]
    if raw is None or (raw == "" and not leaf.may_be_empty):
        return f"is empty; {_wanted(leaf)}"
    if isinstance(raw, str) and raw != raw.strip() and path not in FREE_TEXT:
        return "has white space around it; remove it"
    return None


def _wanted(leaf: SettingSpec) -> str:
    purpose = " ".join(leaf.meaning.split()).split(". ")[0].rstrip(".")
    if leaf.field.is_required():
        return f"it is required: {purpose}"
    return f"unset it, or give it a value: {purpose}"


def _put(tree: dict[str, Any], path: Path, raw: object) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = raw


def _fault(path: Path, kind: str, message: str, layers: Layers) -> str:
    inside = next((depth for depth in range(1, len(path)) if path[:depth] in KNOWN), None)
    if inside is not None:  # a value of a list, by its place there
        place, *names = path[inside:]
        at = " ".join([f"number {int(place) + 1}", ".".join(names)]).rstrip()
        said = _INSIDE.get(kind, message.removeprefix("Value error, "))
        return f"{_label(path[:inside], layers)}: {at}: {said}"
    leaf = KNOWN.get(path)
    if kind == "missing" and leaf is not None:
        return f"{leaf.name} is not set; {_wanted(leaf)}"
    return f"{_label(path, layers)}: {message.removeprefix('Value error, ')}"


_INSIDE = {
    "missing": "is missing",
    "extra_forbidden": "there is no such name",
    "model_type": "must be a mapping of names to values",
}


def _label(path: Path, layers: Layers) -> str:
    """`RECONCILER_X='value'`, with the file it stands in."""
    written = layers.values.get(path)
    if written is None:
        return variable(path)
    if written.source is Source.SECRET_FILE:  # its content was meant to be a secret
        return f"{variable(path)} ({written.where})"
    shown = mask(written.raw) if isinstance(written.raw, str) else written.raw
    text = repr(shown)
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    origin = f" ({written.where})" if written.where else ""
    return f"{variable(path)}={text}{origin}"


CREDENTIALS = re.compile(r"(?<=://)\S*@|(?<=password=)[^&\s]*", re.IGNORECASE)


def mask(text: str) -> str:
    """The text with the credentials of any URL in it blotted out."""
    if "://" not in text and "password" not in text.lower():
        return text
    try:
        user = urlsplit(text).username
    except ValueError:
        user = None
    kept = f"{user}:***@" if user else "***@"
    return CREDENTIALS.sub(lambda found: kept if found.group().endswith("@") else "***", text)
