"""What is done with the chart, act by act, and what has to be seen of it."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio

from tests.integration.site import Site
from tools.cluster.api import KINDS, Api, Object
from tools.cluster.helm import NAMESPACE, RELEASE, Helm
from tools.cluster.node import Node
from tools.image.program import Tell
from tools.image.running import CheckFailed, require

FULL_NAME = f"{RELEASE}-media-reconciler"
PATIENCE_SECONDS = 120.0
ROLE = "daemon"
RELOAD_SECONDS = 10.0
"""Promised: a changed runtime file is in force within that time."""
_OURS = f"app.kubernetes.io/instance={RELEASE}"
_PODS = f"{_OURS},app.kubernetes.io/component=daemon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`site` is the gateway's, on real servers."""

    api: Api
    helm: Helm
    node: Node
    site: Site
    tell: Tell

    def play(self) -> None:
        """Every act. Raises CheckFailed at the first thing that is not as it has to be."""
        self.prepare()
        self.install()
        self.ask_doctor()
        self.go_live()
        self.change_password()
        self.upgrade()
        self.fail_to_upgrade()
        self.roll_back()
        self.uninstall()

    # --- the acts -------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """What is there before the chart: a namespace, two secrets, a role, and an orphan in the bucket."""
        self.api.create_namespace(NAMESPACE)
        self._sql(f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD 'first'")
        self._secret("gateway-database", {"url": self._url("first")})
        self._secret("store", self.site.bucket.server.environment())
        anyio.run(self.site.put, "image/orphan")

    def install(self) -> None:
        self.helm.install(self._values())
        self.tell(
            "helm install --wait: done, without PodDisruptionBudget (policy/v1 is newer than this server) and"
        )
        self.tell(
            "without monitors and rules (their definitions are not here): these are checked by schema alone"
        )
        job, deployment = self._the("Job", "-migrate"), self._the("Deployment")
        require(job["status"].get("succeeded") == 1, f"the migration's Job: {job['status']}")
        before, after = (each["metadata"]["creationTimestamp"] for each in (job, deployment))
        require(before <= after, f"the Job is of {before}, the Deployment of {after}")
        self.tell(
            "the hook's Job had succeeded when the Deployment was made; the gateway's database has the schema"
        )
        self._two_ready()
        self._one_leader()
        refused = ("actions_total", 'action="delete_object"', 'result="deleted"', 'mode="dry_run"')
        self._await("the orphan that would have gone", lambda: max(self._metric(*refused)) == 1)
        require(anyio.run(self.site.keys) == {"image/orphan"}, "a dry run deleted something")
        self.tell("a dry run by default: two replicas, one of them leads, the orphan is found and kept")

    def ask_doctor(self) -> None:
        said = self.helm("test", RELEASE)
        require("Phase:          Succeeded" in said, said)
        self.tell("helm test: the doctor's pod succeeded")

    def go_live(self) -> None:
        """An operator edits the runtime ConfigMap."""
        pods = self._identities()
        self._edit_runtime("dry_run: true", "dry_run: false")
        swapped = self._seen_by_all("runtime", "dry_run: false")
        self._await("dry_run 0 on both replicas", lambda: self._metric("dry_run") == [0, 0])
        waited = time.monotonic() - swapped
        require(waited <= RELOAD_SECONDS, f"live {waited:.1f} s after the file was there")
        self.tell(f"runtime ConfigMap edited: both replicas live {waited:.1f} s after the file was swapped")
        self._await("the orphan's end", lambda: anyio.run(self.site.keys) == set())
        require(self._identities() == pods, "a pod was replaced, or restarted")
        self.tell("the orphan has gone; the same pods, and no restart")

    def change_password(self) -> None:
        """A rotated secret, mounted as a file; the old password's connections are cut."""
        pods = self._identities()
        self._sql(f"ALTER ROLE {ROLE} PASSWORD 'second'")
        change = {"stringData": {"url": self._url("second")}}
        self.api.merge("Secret", NAMESPACE, "gateway-database", change)
        self._seen_by_all("database", ":second@")
        self._sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")
        anyio.run(self.site.put, "image/later")
        self._await("the later orphan's end", lambda: anyio.run(self.site.keys) == set())
        self._two_ready()
        require(self._identities() == pods, "a pod was replaced, or restarted")
        self.tell(
            "a new password in the database's Secret, old connections cut: it goes on, without a restart"
        )

    def upgrade(self) -> None:
        """A static setting: the pods are replaced, after the hook has run anew."""
        pods, job = self._identities(), self._the("Job", "-migrate")["metadata"]["uid"]
        self.helm.upgrade(self._values(log={"level": "debug"}))
        self.tell("helm upgrade --wait with another static setting: done")
        require(self._the("Job", "-migrate")["metadata"]["uid"] != job, "the hook did not run anew")
        self._two_ready()
        self._one_leader()
        require(not self._identities().keys() & pods.keys(), "pods of before are still there")
        self._ended_well()
        self._await("the dry run that the chart's values say", lambda: self._metric("dry_run") == [1, 1])
        self.tell("the hook ran anew, both pods were replaced and ended with 0, one of the new ones leads")
        self.tell("the upgrade wrote the runtime ConfigMap anew: a dry run again, as its values say")

    def fail_to_upgrade(self) -> None:
        """A migration that cannot reach its database."""
        pods = self._identities()
        self._secret("nowhere", {"url": "postgresql://nobody:none@127.0.0.1:1/nothing"})
        broken = {"existingSecret": "nowhere", "backoffLimit": 0}
        try:
            self.helm.upgrade(self._values(migrations=broken, log={"level": "warning"}))
        except CheckFailed as error:
            require("pre-upgrade hooks failed" in str(error), str(error))
        else:
            raise CheckFailed("an upgrade whose migration fails was taken as done")
        require(self._identities() == pods, "a failed upgrade touched the pods")
        self._two_ready()
        self.tell("helm upgrade with a migration that fails: refused, and the pods of before still run")

    def roll_back(self) -> None:
        pods = self._identities()
        self.helm("rollback", RELEASE, "1", "--wait", "--timeout=240s")
        self.tell("helm rollback to the first revision: done")
        self._two_ready()
        self._one_leader()
        require(not self._identities().keys() & pods.keys(), "pods of before are still there")
        self._ended_well()
        self.tell("both pods were replaced and ended with 0, one of the new ones leads")

    def uninstall(self) -> None:
        self.helm("uninstall", RELEASE, "--wait", "--timeout=240s")
        self._await("the pods' end", lambda: not self._pods())
        self._ended_well()
        left = {(kind, name) for kind in KINDS for name in self._names(kind)}
        hooks = {(kind, name) for kind, name in left if "-migrate" in name or name.endswith("-doctor")}
        require(left == hooks, f"left behind: {sorted(left - hooks)}")
        told = ", ".join(f"{kind} {name}" for kind, name in sorted(hooks))
        self.tell(f"helm uninstall: all gone but what hooks made, which helm leaves: {told}")
        for kind in ("Job", "Pod", "ConfigMap", "Secret"):
            self.api.delete_all(kind, NAMESPACE, _OURS)
        self._await("the end of what hooks made", lambda: not any(self._names(kind) for kind in KINDS))
        self.tell("these are gone too, by the chart's label")
        kept = anyio.run(self._ledger_size)
        require(kept, "the ledger is empty")
        self.tell(f"the schema and its ledger ({kept} lines) stay in the database")

    # --- what they look at ----------------------------------------------------------------------------

    def _values(self, **changes: object) -> dict[str, object]:
        server = self.site.bucket.server
        return {
            "bucket": {
                "name": self.site.bucket.name,
                "prefixes": ["image/", "video/"],
                "endpointUrl": server.endpoint_url,
                "region": server.region,
                "credentials": {"existingSecret": "store"},
            },
            "database": {"existingSecret": "gateway-database"},
            "gracePeriod": "0s",
            "deleteDelay": "0s",
            "deleteMode": "direct",
            # A new gateway without a row, whose one object is to go.
            "migrations": {"createTables": True},
            "breaker": {"maxFraction": 1},
            "sweepInterval": "2s",
            "retentionInterval": "2s",
            "lease": {"ttl": "10s"},
            "networkPolicy": {"enabled": True},
            "dashboards": {"enabled": True},
            # policy/v1 is newer than this API server; the chart's tests check it by schema.
            "podDisruptionBudget": {"enabled": False},
            **changes,
        }

    def _secret(self, name: str, entries: dict[str, str]) -> None:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": entries}
        self.api.create("Secret", NAMESPACE, body)

    def _the(self, kind: str, suffix: str = "") -> Object:
        found = self.api.one(kind, NAMESPACE, FULL_NAME + suffix)
        if found is None:
            raise CheckFailed(f"there is no {kind} {FULL_NAME}{suffix}")
        return found

    def _pods(self) -> list[Object]:
        return self.api.all("Pod", NAMESPACE, _PODS)

    def _names(self, kind: str) -> list[str]:
        return [each["metadata"]["name"] for each in self.api.all(kind, NAMESPACE, _OURS)]

    def _identities(self) -> dict[str, int]:
        """The restarts of each pod, by its uid."""
        return {
            pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"]
            for pod in self._pods()
            if "deletionTimestamp" not in pod["metadata"]
        }

    def _two_ready(self) -> None:
        self._await("the pods of before to be gone", lambda: len(self._pods()) == 2)
        status = self._the("Deployment")["status"]
        require(status.get("readyReplicas") == status.get("updatedReplicas") == 2, f"Deployment: {status}")

    def _one_leader(self) -> None:
        self._await("a leader, and one alone", lambda: sorted(self._metric("leader")) == [0, 1])

    def _ended_well(self) -> None:
        """Every daemon that was asked to end did so with 0."""
        for running in self.node.ended:
            labels = running.pod["metadata"]["labels"]
            if labels.get("app.kubernetes.io/component") == "daemon":
                require(
                    running.ended == 0,
                    f"{running.name} ended with {running.ended}:\n{self._log(running.log.read_text())}",
                )

    @staticmethod
    def _log(text: str) -> str:
        return "\n".join(text.splitlines()[-20:])

    def _metric(self, name: str, *labels: str) -> Sequence[float]:
        """The value in each replica of the one sample that has these labels; -1 where there is none."""
        return [_sample(pod["status"]["podIP"], f"media_reconciler_{name}", labels) for pod in self._pods()]

    def _edit_runtime(self, old: str, new: str) -> None:
        text = self._the("ConfigMap", "-runtime")["data"]["runtime.yaml"]
        require(old in text, f"the runtime file does not say {old}")
        change = {"data": {"runtime.yaml": text.replace(old, new)}}
        self.api.merge("ConfigMap", NAMESPACE, f"{FULL_NAME}-runtime", change)

    def _sql(self, statement: str) -> None:
        anyio.run(self.site.sql, statement)

    def _url(self, password: str) -> str:
        """The database's address for the daemon's own role."""
        return re.sub("//[^@]*@", f"//{ROLE}:{password}@", self.site.database)

    def _seen_by_all(self, volume: str, text: str) -> float:
        """When the node had swapped the volume in every pod."""
        daemons = [self.node.running[uid] for uid in self._identities()]
        self._await("the kubelet", lambda: all(text in each.volumes.text(volume) for each in daemons))
        return time.monotonic()

    async def _ledger_size(self) -> int:
        return len(await self.site.ledger())

    def _await(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            if self.node.fault is not None:
                raise CheckFailed("the node failed") from self.node.fault
            if time.monotonic() > deadline:
                logs = "\n".join(self._log(each.log.read_text()) for each in self.node.running.values())
                raise CheckFailed(f"waited in vain for {what}\n{logs}")
            time.sleep(0.1)


def _sample(address: str, name: str, labels: Sequence[str]) -> float:
    try:
        with urllib.request.urlopen(f"http://{address}:8080/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, OSError):
        return -1
    ours = (line for line in lines if line.startswith((f"{name} ", f"{name}{{")))
    return next((float(line.split()[-1]) for line in ours if all(label in line for label in labels)), -1)
