"""One node: a scheduler that puts every pod there, and a kubelet that runs its command on this machine.

Each pod has a read-only root of its own, its volumes at their paths, its user and no capabilities
(`tools.image.jail`). What differs from a cluster: pods share this machine's network, so each gets a loopback
address of its own and listens there; there are no images, limits or liveness probes; pods that ask for less
than the Restricted profile are refused by the node, since this API server has no admission for it.
"""

from __future__ import annotations

import http.client
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from tools.cluster.api import Api, Object
from tools.cluster.volumes import Volumes, environment
from tools.image.jail import Jail, ask_to_end
from tools.image.program import Program
from tools.image.running import require

NODE = "here"
TURN_SECONDS = 0.25
"""How often the node looks. A kubelet is slower to notice a changed ConfigMap: up to two minutes."""


class Running:
    """A pod on this node. Its container's output is in `log`."""

    def __init__(self, api: Api, program: Program, pod: Object, directory: Path, address: str) -> None:
        self.pod = pod
        self.address = address
        self.log = directory / "log"
        self.restarts = 0
        self.asked_at: float | None = None
        self.ended: int | None = None
        self.reported: object = None
        self._again_at = 0.0
        (self._container,) = pod["spec"]["containers"]
        _restricted(pod["spec"], self._container)
        self.volumes = Volumes(api, pod, directory / "volumes")
        security = pod["spec"]["securityContext"]
        self._env = {**environment(api, pod, self._container, address), "RECONCILER_WEB__HOST": address}
        root = directory / "root"
        root.mkdir()
        self._jail = Jail(
            source=program.root,
            root=root,
            user=f"{security['runAsUser']}:{security['runAsGroup']}",
            environment=program.environment,
            shown=program.shown,
            mounts=self.volumes.mounts(self._container),
            layer=directory / "layer",
        )
        self._argv = [*self._container.get("command", [program.command]), *self._container.get("args", ())]
        self.command = " ".join(self._container.get("args", ()))
        self._started = self._start()

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    def _start(self) -> subprocess.Popen[str]:
        self.started_at = _now()
        with self.log.open("a") as log:
            return self._jail.start(self._argv, self._env, log)

    def turn(self) -> None:
        """See whether the container has ended, and start it again where the pod wants that."""
        if self.ended is None:
            self.ended = self._started.poll()
            self._again_at = time.monotonic() + min(2**self.restarts, 10)
        elif self.asked_at is None and self._wanted_again() and time.monotonic() > self._again_at:
            self.restarts += 1
            self.ended = None
            self._started = self._start()

    def _wanted_again(self) -> bool:
        policy = self.pod["spec"]["restartPolicy"]
        return policy == "Always" or (policy == "OnFailure" and self.ended != 0)

    def end(self, grace: int) -> bool:
        """Ask it once, kill it after its grace. Returns whether it has ended."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            ask_to_end(self._started)
        elif time.monotonic() > self.asked_at + grace:
            self._started.kill()
        self.ended = self._started.poll()
        return self.ended is not None

    def kill(self) -> None:
        self._started.kill()
        self._started.wait()

    def status(self) -> Object:
        """What the kubelet reports of it."""
        ready = self.ended is None and self._ready()
        phase = "Running"
        if self.ended is not None and not self._wanted_again():
            phase = "Failed" if self.ended else "Succeeded"
        state: Object = {"running": {"startedAt": self.started_at}}
        if self.ended is not None:
            reason = "Error" if self.ended else "Completed"
            state = {"terminated": {"exitCode": self.ended, "reason": reason, "startedAt": self.started_at}}
        held = {"Initialized": True, "PodScheduled": True, "ContainersReady": ready, "Ready": ready}
        return {
            "phase": phase,
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "hostIP": "127.0.0.1",
            "startTime": self.pod["metadata"]["creationTimestamp"],
            "conditions": [{"type": name, "status": str(holds)} for name, holds in held.items()],
            "containerStatuses": [
                {
                    "name": self._container["name"],
                    "image": self._container["image"],
                    "imageID": "here",
                    "ready": ready,
                    "restartCount": self.restarts,
                    "state": state,
                }
            ],
        }

    def _ready(self) -> bool:
        probe = self._container.get("readinessProbe")
        if probe is None:
            return True
        ports = {port["name"]: port["containerPort"] for port in self._container["ports"]}
        port = ports.get(probe["httpGet"]["port"], probe["httpGet"]["port"])
        connection = http.client.HTTPConnection(self.address, port, timeout=2)
        try:
            connection.request("GET", probe["httpGet"]["path"])
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Node:
    """Runs until `stop` is set. `told` is called with what a reader may want to know."""

    def __init__(self, api: Api, program: Program, directory: Path, told: Callable[[str], None]) -> None:
        self.running: dict[str, Running] = {}
        self.ended: list[Running] = []
        self.fault: BaseException | None = None
        self._api = api
        self._program = program
        self._directory = directory
        self._described = told
        self._count = 0

    def loop(self, stop: threading.Event) -> None:
        try:
            while not stop.wait(TURN_SECONDS):
                self._turn()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the node is told
            self.fault = error
        finally:
            for running in self.running.values():
                running.kill()

    def _turn(self) -> None:
        for pod in self._api.get("/api/v1/pods")["items"]:
            if not pod["spec"].get("nodeName"):
                self._api.bind(pod, NODE)
            elif pod["metadata"]["uid"] in self.running:
                self._follow(self.running[pod["metadata"]["uid"]], pod)
            elif "deletionTimestamp" in pod["metadata"]:
                self._api.gone(pod)
            elif pod["status"]["phase"] == "Pending":
                with suppress(LookupError):  # what it mounts is not there yet
                    self._begin(pod)

    def _begin(self, pod: Object) -> None:
        self._count += 1
        directory = self._directory / f"{self._count}-{pod['metadata']['name']}"
        directory.mkdir(parents=True)
        address = f"127.0.{10 + self._count // 250}.{1 + self._count % 250}"
        running = Running(self._api, self._program, pod, directory, address)
        self.running[pod["metadata"]["uid"]] = running
        self._described(f"node: {running.name} starts at {address}: {running.command}")

    def _follow(self, running: Running, pod: Object) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            if running.end(pod["metadata"]["deletionGracePeriodSeconds"]):
                self._api.gone(pod)
                self._forget(pod["metadata"]["uid"])
            return
        before = running.ended
        running.turn()
        if before is None and running.ended is not None:
            self._described(f"node: {running.name} ended with {running.ended}")
        for volume in running.volumes.refresh() if running.ended is None else ():
            self._described(f"node: {running.name} gets the new {volume}")
        status = running.status()
        if status != running.reported:
            namespace = pod["metadata"]["namespace"]
            self._api.merge("Pod", namespace, running.name, {"status": status}, part="/status")
            running.reported = status

    def _forget(self, uid: str) -> None:
        running = self.running.pop(uid)
        self.ended.append(running)
        self._described(f"node: {running.name} is gone; its command ended with {running.ended}")


@contextmanager
def node(api: Api, program: Program, directory: Path, told: Callable[[str], None]) -> Iterator[Node]:
    """A node that works beside us, with whatever it runs gone at the end."""
    stop = threading.Event()
    made = Node(api, program, directory, told)
    thread = threading.Thread(target=made.loop, args=(stop,), name="node")
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join()


def _restricted(pod: Object, container: Object) -> None:
    """What the node relies on, of the Restricted profile."""
    security, own = pod.get("securityContext", {}), container.get("securityContext", {})
    require(security.get("runAsNonRoot") and security.get("runAsUser"), "the pod may run as root")
    require(own.get("readOnlyRootFilesystem"), "the pod's root is writable")
    require(own.get("allowPrivilegeEscalation") is False, "the pod may gain privileges")
    require(own.get("capabilities") == {"drop": ["ALL"]}, "the pod keeps capabilities")
    require(pod.get("automountServiceAccountToken") is False, "the pod gets a token")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
