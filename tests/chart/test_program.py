"""The commands of the chart's pods, run as a kubelet would run them, against a real Postgres and a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest

from reconciler.demo.servers import EmbeddedPostgres
from tests.chart import kubelet
from tests.chart.helm import CHART, Manifest, pods, render
from tests.servers import Bucket, S3Server, execute, fresh_bucket, fresh_database


@pytest.fixture
def store(moto: S3Server) -> Iterator[Bucket]:
    """A bucket whose credentials are not in this process's environment."""
    with fresh_bucket(moto) as bucket:
        yield bucket


@pytest.fixture
def address(postgres: EmbeddedPostgres) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


class Cluster:
    """Runs the pods of a release, one command at a time."""

    def __init__(self, manifests: Sequence[Manifest], root: Path, there: kubelet.Sources) -> None:
        self._pods = {label.split()[0]: pod for label, pod in pods(manifests).items()}
        self._found = kubelet.sources(manifests, there)
        self._root = root

    def run(self, kind: str, *command: str) -> tuple[int, str]:
        """The pod's own command, or another in its container as `kubectl exec` would."""
        pod, root = self._pods[kind], self._root / kind
        kubelet.mount(pod, root, self._found)
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ["PYTHONPATH"],
            "AWS_EC2_METADATA_DISABLED": "true",
            **kubelet.environment(pod, root, self._found),
        }
        (container,) = pod["containers"]
        ended = subprocess.run(
            [sys.executable, "-m", "reconciler", *(command or container["args"])],
            env=environ,
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr


def values(bucket: Bucket, files: bool) -> Mapping[str, object]:
    """What a site has to say, with Secrets that somebody made before."""
    return {
        "bucket": {
            "name": bucket.name,
            "prefixes": ["image/"],
            "endpointUrl": bucket.server.endpoint_url,
            "region": bucket.server.region,
            "credentials": {"existingSecret": "store", "asFile": files},
        },
        "database": {"existingSecret": "database", "asFile": files},
    }


@pytest.mark.parametrize("files", [True, False], ids=["files", "environment"])
def test_hook_doctor_and_plan_work_from_the_rendered_objects_alone(
    files: bool, store: Bucket, address: str, tmp_path: Path
) -> None:
    server = store.server
    profile = f"aws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
    there: kubelet.Sources = {
        ("Secret", "database"): {"url": address},
        ("Secret", "store"): {
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "credentials": f"[default]\n{profile}",
        },
    }
    cluster = Cluster(render(values(store, files)), tmp_path, there)
    store.put("image/2026/01/01/orphan.png")

    status, told = cluster.run("Pod")
    assert (status, "run `reconciler migrate`" in told) == (1, True), told
    status, told = cluster.run("Job")
    assert (status, "schema reconciler is at" in told) == (0, True), told
    status, told = cluster.run("Pod")
    assert (status, "valid; dry run" in told) == (0, True), told
    status, told = cluster.run("Deployment", "plan", "--format", "jsonl")
    assert status == 0, told


def test_a_password_that_was_changed_needs_no_new_pod(
    postgres: EmbeddedPostgres, store: Bucket, address: str, tmp_path: Path
) -> None:
    assert CHART.is_dir()
    assert quote("x")
    assert json.loads("{}") == {}
    assert execute
    assert postgres
