"""As much of the Kubernetes API as a script needs that plays the scheduler and the kubelet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

Object = dict[str, Any]

_PLACES = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Pod": "/api/v1/namespaces/{}/pods",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Service": "/api/v1/namespaces/{}/services",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
}
KINDS = tuple(_PLACES)


@dataclass(frozen=True, slots=True)
class Api:
    """Raises httpx.HTTPStatusError where the server refuses, with its answer."""

    client: httpx.Client

    def ready(self) -> bool:
        """Whether it serves, its own start-up done."""
        try:
            return self.client.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def get(self, path: str) -> Object:
        return self._answer(self.client.get(path))

    def one(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, or None where there is none of that name."""
        answer = self.client.get(f"{_PLACES[kind].format(namespace)}/{name}")
        return None if answer.status_code == httpx.codes.NOT_FOUND else self._answer(answer)

    def all(self, kind: str, namespace: str, labels: str = "") -> list[Object]:
        found = self.client.get(_PLACES[kind].format(namespace), params={"labelSelector": labels})
        return list(self._answer(found)["items"])

    def delete_all(self, kind: str, namespace: str, labels: str) -> None:
        """What `kubectl delete --selector` does."""
        self._answer(self.client.delete(_PLACES[kind].format(namespace), params={"labelSelector": labels}))

    def create(self, kind: str, namespace: str, body: Mapping[str, object]) -> Object:
        return self._answer(self.client.post(_PLACES[kind].format(namespace), json=body))

    def create_namespace(self, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        self._answer(self.client.post("/api/v1/namespaces", json=body))

    def merge(
        self, kind: str, namespace: str, name: str, change: Mapping[str, object], part: str = ""
    ) -> None:
        """What `kubectl patch --type merge` does; `part` is "/status" for that subresource."""
        path = f"{_PLACES[kind].format(namespace)}/{name}{part}"
        headers = {"Content-Type": "application/merge-patch+json"}
        self._answer(self.client.patch(path, json=change, headers=headers))

    def bind(self, pod: Object, node: str) -> None:
        """What a scheduler does with a pod that has found its node."""
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self._answer(self.client.post(f"/api/v1/namespaces/{namespace}/pods/{name}/binding", json=body))

    def gone(self, pod: Object) -> None:
        """What a kubelet says when nothing of a deleted pod is left."""
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        path = f"{_PLACES['Pod'].format(namespace)}/{name}"
        answer = self.client.request("DELETE", path, json=body)
        if answer.status_code != httpx.codes.NOT_FOUND:
            self._answer(answer)

    @staticmethod
    def _answer(answer: httpx.Response) -> Object:
        if not answer.is_success:
            message = f"{answer.request.method} {answer.request.url.path}: {answer.text[:500]}"
            raise httpx.HTTPStatusError(message, request=answer.request, response=answer)
        found: Object = answer.json()
        return found
