"""A control plane on loopback: Debian's etcd, kube-apiserver and kube-controller-manager."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx

from reconciler.embedded.client import HOST, Supervisor, free_ports
from tools.cluster.api import Api
from tools.image.running import CheckFailed, run

CONTROLLERS = ("deployment", "replicaset", "job", "serviceaccount", "garbagecollector", "namespace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """`kubeconfig` is for helm; `version` is the server's own."""

    api: Api
    kubeconfig: Path
    version: str


def start_plane(supervisor: Supervisor, programs: Path) -> Plane:
    """Start the three of them; they end with the supervisor. `programs` holds the two that were built."""
    home = supervisor.directory / "plane"
    home.mkdir()
    etcd, peer, port, metrics = (free_ports(4) + offset for offset in range(4))
    _etcd(supervisor, home, etcd, peer)
    token = secrets.token_hex(16)
    (home / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    run(["openssl", "genrsa", "-out", f"{home}/key.pem", "2048"])
    run(["openssl", "rsa", "-in", f"{home}/key.pem", "-pubout", "-out", f"{home}/public.pem"])
    _apiserver(supervisor, programs, home, f"http://{HOST}:{etcd}", port)
    address = f"https://{HOST}:{port}"
    kubeconfig = home / "kubeconfig"
    kubeconfig.write_text(json.dumps(_kubeconfig(address, token)))
    api = Api(httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, verify=False))
    supervisor.wait_for("kube-apiserver", api.ready, "kube-apiserver")
    supervisor.start(
        "kube-controller-manager",
        [
            f"{programs}/kube-controller-manager",
            f"--kubeconfig={kubeconfig}",
            f"--controllers={','.join(CONTROLLERS)}",
            f"--service-account-private-key-file={home}/key.pem",
            "--leader-elect=false",
            *(f"--bind-address={HOST}", f"--secure-port={metrics}", "--port=0", f"--cert-dir={home}/kcm"),
        ],
    )
    return Plane(api=api, kubeconfig=kubeconfig, version=str(api.get("/version")["gitVersion"]))


def _etcd(supervisor: Supervisor, home: Path, port: int, peer: int) -> None:
    program = shutil.which("etcd")
    if program is None:
        raise CheckFailed("no etcd on this machine: apt-get install etcd-server")
    client, among = f"http://{HOST}:{port}", f"http://{HOST}:{peer}"
    supervisor.start(
        "etcd",
        [
            *(program, "--name=one", f"--data-dir={home}/etcd"),
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={among}", f"--initial-advertise-peer-urls={among}"),
            f"--initial-cluster=one={among}",
        ],
    )
    supervisor.wait_for("etcd", lambda: _healthy(client), "etcd")


def _healthy(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health").is_success
    except httpx.TransportError:
        return False


def _apiserver(supervisor: Supervisor, programs: Path, home: Path, etcd: str, port: int) -> None:
    supervisor.start(
        "kube-apiserver",
        [
            f"{programs}/kube-apiserver",
            f"--etcd-servers={etcd}",
            *(f"--bind-address={HOST}", f"--secure-port={port}", f"--advertise-address={HOST}"),
            f"--cert-dir={home}/apiserver",
            "--authorization-mode=RBAC",
            f"--token-auth-file={home}/tokens.csv",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={home}/public.pem",
            f"--service-account-signing-key-file={home}/key.pem",
            # Its own Endpoints would name a loopback address, which it refuses.
            "--endpoint-reconciler-type=none",
        ],
    )


def _kubeconfig(address: str, token: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": address, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
        "current-context": "here",
    }


def version_of(programs: Path, program: str) -> str:
    """Raises CheckFailed where it is not there or does not run."""
    path = programs / program
    if not path.exists():
        raise CheckFailed(f"no {program} in {programs}: CONTRIBUTING says how to build it")
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip()
