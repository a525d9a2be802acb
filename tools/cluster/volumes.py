"""What the kubelet puts into a pod: its volumes, kept up to date, and its environment."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.cluster.api import Api, Object
from tools.image.jail import Mount

Entries = Mapping[str, str]


class Volumes:
    """A pod's volumes below a directory. ConfigMaps and Secrets are swapped as the kubelet does it.

    A new directory is filled beside the old one, and the link `..data` moved to it in one step.
    https://github.com/kubernetes/kubernetes/blob/v1.20.2/pkg/volume/util/atomic_writer.go
    """

    def __init__(self, api: Api, pod: Object, directory: Path) -> None:
        self._api = api
        self._namespace: str = pod["metadata"]["namespace"]
        self._directory = directory
        self._volumes: Mapping[str, Any] = {
            volume["name"]: volume for volume in pod["spec"].get("volumes", ())
        }
        self._group: int = pod["spec"].get("securityContext", {}).get("fsGroup", -1)
        self._shown: dict[str, Entries] = {}
        for name in self._volumes:
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.refresh()

    def refresh(self) -> list[str]:
        """Swap what has changed. Returns the names of these volumes."""
        changed = []
        for name, volume in self._volumes.items():
            try:
                entries = self._entries(volume)
            except LookupError:  # removed under the pod: what it has seen stays
                if name not in self._shown:
                    raise
                continue
            if entries is None:
                (self._directory / name).chmod(0o777)
            elif self._shown.get(name) != entries:
                source = volume.get("configMap") or volume["secret"]
                self._swap(self._directory / name, entries, source.get("defaultMode", 0o644))
                self._shown[name] = entries
                changed.append(name)
        return changed

    def text(self, name: str) -> str:
        """All that a volume shows."""
        return "\n".join(path.read_text() for path in (self._directory / name / "..data").iterdir())

    def mounts(self, container: Object) -> list[Mount]:
        """Where the container wants them. A `subPath` stays what it is now, as it does in a cluster."""
        return [self._mount(wanted) for wanted in container.get("volumeMounts", ())]

    def _mount(self, wanted: Object) -> Mount:
        place = self._directory / wanted["name"]
        source = (place / wanted["subPath"]).resolve(strict=True) if "subPath" in wanted else place
        writable = "emptyDir" in self._volumes[wanted["name"]]
        return Mount(source=source, target=wanted["mountPath"], writable=writable)

    def _entries(self, volume: Object) -> Entries | None:
        """A volume's files; None where it begins empty."""
        if "configMap" in volume:
            return _items(
                volume["configMap"],
                held(self._api, "ConfigMap", self._namespace, volume["configMap"]["name"]),
            )
        if "secret" in volume:
            return _items(
                volume["secret"], held(self._api, "Secret", self._namespace, volume["secret"]["secretName"])
            )
        assert "emptyDir" in volume, volume
        return None

    def _swap(self, place: Path, entries: Entries, mode: int) -> None:
        fresh = place / f"..{len(list(place.glob('..[0-9]*')))}"
        fresh.mkdir(mode=0o755)
        for name, text in entries.items():
            (fresh / name).write_text(text)
            (fresh / name).chmod(mode)
            os.chown(fresh / name, -1, self._group)
        link = place / "..data_tmp"
        link.symlink_to(fresh.name)
        link.rename(place / "..data")
        for name in entries:
            if not (place / name).is_symlink():
                (place / name).symlink_to(f"..data/{name}")


def _items(source: Object, entries: Entries) -> Entries:
    wanted = source.get("items")
    return {item["path"]: entries[item["key"]] for item in wanted} if wanted else entries


def held(api: Api, kind: str, namespace: str, name: str) -> Entries:
    """The entries of a ConfigMap or a Secret. Raises LookupError where there is none: the pod has to wait."""
    found = api.one(kind, namespace, name)
    if found is None:
        raise LookupError(f"{kind} {name} is not there")
    entries: dict[str, str] = found.get("data") or {}
    if kind == "Secret":
        return {name: base64.b64decode(text).decode() for name, text in entries.items()}
    return entries


def environment(api: Api, pod: Object, container: Object, address: str) -> dict[str, str]:
    """The container's variables."""
    namespace = pod["metadata"]["namespace"]
    fields = {
        "metadata.name": pod["metadata"]["name"],
        "metadata.namespace": namespace,
        "status.podIP": address,
        "spec.nodeName": "here",
    }
    made: dict[str, str] = {}
    for variable in container.get("env", ()):
        source = variable.get("valueFrom")
        if source is None:
            made[variable["name"]] = variable.get("value", "")
        elif "fieldRef" in source:
            made[variable["name"]] = fields[source["fieldRef"]["fieldPath"]]
        else:
            kind = "Secret" if "secretKeyRef" in source else "ConfigMap"
            key = source.get("secretKeyRef") or source["configMapKeyRef"]
            entries = held(api, kind, namespace, key["name"])
            made[variable["name"]] = entries[key["key"]]
    return made
