"""What a kubelet makes of a pod, in a directory: its volumes, and the environment of its container."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chart.helm import Manifest

Entries = Mapping[str, str]
Sources = Mapping[tuple[str, str], Entries]
"""The entries of each ConfigMap and Secret, by kind and name."""


def sources(manifests: Sequence[Manifest], there: Sources) -> Sources:
    """What the objects hold, beside what was there before them."""
    found = dict(there)
    for manifest in manifests:
        if manifest["kind"] in {"ConfigMap", "Secret"}:
            encoded = manifest.get("data", {}) if manifest["kind"] == "Secret" else {}
            plain = manifest.get("stringData", {}) or manifest.get("data", {})
            decoded = {name: base64.b64decode(text).decode() for name, text in encoded.items()}
            found[manifest["kind"], manifest["metadata"]["name"]] = {**plain, **decoded}
    return found


def mount(pod: Mapping[str, Any], root: Path, found: Sources) -> None:
    """Lay the pod's volumes out under `root` as they would appear in its only container."""
    (container,) = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mounted in container["volumeMounts"]:
        entries = _entries(volumes[mounted["name"]], found)
        target = root / mounted["mountPath"].lstrip("/")
        if entries is None:
            target.mkdir(parents=True, exist_ok=True)
        elif "subPath" in mounted:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(entries[mounted["subPath"]], encoding="utf-8")
        else:
            swap(target, entries)


def swap(directory: Path, entries: Entries) -> None:
    """Replace a volume's content in one step: a new directory, and the link `..data` moved to it.

    https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go
    """
    directory.mkdir(parents=True, exist_ok=True)
    fresh = directory / f"..generation_{len(list(directory.glob('..generation_*')))}"
    fresh.mkdir()
    for name, text in entries.items():
        (fresh / name).write_text(text, encoding="utf-8")
    link = directory / "..data_tmp"
    link.symlink_to(fresh.name)
    link.rename(directory / "..data")
    for name in entries:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")


def _entries(volume: Mapping[str, Any], found: Sources) -> Entries | None:
    """A volume's files; None where it begins empty."""
    if "configMap" in volume:
        return found["ConfigMap", volume["configMap"]["name"]]
    if "secret" in volume:
        held = found["Secret", volume["secret"]["secretName"]]
        items = volume["secret"].get("items")
        return {item["path"]: held[item["key"]] for item in items} if items else held
    assert "emptyDir" in volume, volume
    return None


def environment(pod: Mapping[str, Any], root: Path, found: Sources) -> dict[str, str]:
    """The variables of the pod's only container; paths below /etc/reconciler are moved under `root`."""
    (container,) = pod["containers"]
    made: dict[str, str] = {}
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            value = source["fieldRef"]["fieldPath"]
        elif "secretKeyRef" in source:
            value = found["Secret", source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
        else:
            value = variable["value"]
        made[variable["name"]] = str(root) + value if value.startswith("/etc/reconciler") else value
    return made
