"""The commands of the chart's pods, run as a kubelet would, against a real Postgres and a real store."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from reconciler.embedded.client import free_ports
from reconciler.embedded.postgres import EmbeddedPostgres
from tests.chart import kubelet
from tests.chart.helm import Manifest, named, pods, render
from tests.servers import Bucket, S3Server, fresh_bucket, fresh_database

TIMEOUT = 60
"""Seconds until a test gives up on the daemon."""


class Cluster:
    """Runs the commands of a release's pods, each in its own file system and environment."""

    def __init__(self, manifests: Sequence[Manifest], root: Path, there: kubelet.Sources) -> None:
        self._pods = {label.split()[0]: pod for label, pod in pods(manifests).items()}
        self._found = kubelet.sources(manifests, there)
        self._root = root

    def start(self, kind: str, *command: str) -> subprocess.Popen[str]:
        """The pod's own command, or another in its container as `kubectl exec` would."""
        pod, root = self._pods[kind], self._root / kind
        if not root.exists():
            kubelet.mount(pod, root, self._found)
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ["PYTHONPATH"],
            "AWS_EC2_METADATA_DISABLED": "true",
            **kubelet.environment(pod, root, self._found),
            # The chart refuses it, since a pod is to be reached from outside; a test is not.
            "RECONCILER_WEB__HOST": "127.0.0.1",
        }
        (container,) = pod["containers"]
        return subprocess.Popen(
            [sys.executable, "-m", "reconciler", *(command or container["args"])],
            env=environ,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, kind: str, *command: str) -> tuple[int, str]:
        """The same to its end: exit status and what was told."""
        with self.start(kind, *command) as started:
            told, _ = started.communicate(timeout=TIMEOUT)
            return started.returncode, told

    def edit(self, manifest: Manifest) -> None:
        """What the kubelet does some time after the runtime ConfigMap has changed."""
        kubelet.swap(self._root / "Deployment" / "etc" / "reconciler" / "runtime", manifest["data"])


@pytest.fixture
def store(moto: S3Server) -> Iterator[Bucket]:
    """A bucket whose credentials are not in this process's environment."""
    with fresh_bucket(moto) as bucket:
        yield bucket


@pytest.fixture
def address(postgres: EmbeddedPostgres) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


def values(bucket: Bucket, *, files: bool, **more: object) -> dict[str, Any]:
    """What a site says, with Secrets that somebody made before."""
    return {
        "bucket": {
            "name": bucket.name,
            "prefixes": ["image/"],
            "endpointUrl": bucket.server.endpoint_url,
            "region": bucket.server.region,
            "credentials": {"existingSecret": "store", "asFile": files},
        },
        "database": {"existingSecret": "database", "asFile": files},
        "migrations": {"createTables": True},
        **more,
    }


def secrets(server: S3Server, address: str) -> kubelet.Sources:
    profile = f"aws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
    return {
        ("Secret", "database"): {"url": address},
        ("Secret", "store"): {
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "credentials": f"[default]\n{profile}",
        },
    }


def test_hook_doctor_and_plan_work_with_secrets_in_files(store: Bucket, address: str, tmp_path: Path) -> None:
    cluster = Cluster(render(values(store, files=True)), tmp_path, secrets(store.server, address))
    store.put("image/2026/01/01/orphan.png")

    status, told = cluster.run("Pod")
    assert (status, "run `reconciler migrate`" in told) == (1, True), told
    status, told = cluster.run("Job")
    assert (status, "schema reconciler is at" in told) == (0, True), told
    status, told = cluster.run("Pod")
    assert (status, "valid; dry run" in told) == (0, True), told
    status, told = cluster.run("Deployment", "plan", "--format", "jsonl")
    assert status == 0, told


def test_the_daemon_with_secrets_in_variables_takes_up_the_runtime_config_map_and_ends_in_time(
    store: Bucket, address: str, tmp_path: Path
) -> None:
    web = {"port": free_ports(1)}
    cluster = Cluster(render(values(store, files=False, web=web)), tmp_path, secrets(store.server, address))
    assert cluster.run("Job")[0] == 0
    daemon = cluster.start("Deployment")
    try:
        ask = _asker(f"http://127.0.0.1:{web['port']}", daemon)
        ask("/readyz", lambda answer: answer == "ok\n")
        ask("/metrics", lambda answer: "media_reconciler_dry_run 1.0" in answer)
        live = render(values(store, files=False, web=web, dryRun=False))
        cluster.edit(named(live, "ConfigMap", "-runtime"))
        ask("/metrics", lambda answer: "media_reconciler_dry_run 0.0" in answer)
        daemon.send_signal(signal.SIGTERM)
        told, _ = daemon.communicate(timeout=45)
        assert (daemon.returncode, '"event": "stopped"' in told) == (0, True), told
    finally:
        daemon.kill()
        daemon.communicate()


def _asker(base: str, daemon: subprocess.Popen[str]) -> Callable[[str, Callable[[str], bool]], None]:
    """Asks the daemon until the answer is as it should be."""

    async def asked(path: str, enough: Callable[[str], bool]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not enough(await asyncio.to_thread(_get, base + path)):
                assert daemon.poll() is None, "the daemon has ended"
                await asyncio.sleep(0.1)

    return lambda path, enough: asyncio.run(asked(path, enough))


def _get(url: str) -> str:
    """The answer; nothing while there is none."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""
