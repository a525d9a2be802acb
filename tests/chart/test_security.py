"""Every pod of the chart under the Restricted profile, and what we ask beyond it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import CI_VALUES, MINIMAL, named, of_kind, pods, render
from tests.chart.restricted import violations

Pod = dict[str, Any]
CI_FILES = pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem.removesuffix("-values"))


@CI_FILES
def test_every_pod_keeps_to_the_restricted_profile(file: Path) -> None:
    found = pods(render(file=file))
    assert {label: violations(pod) for label, pod in found.items()} == {label: [] for label in found}


@CI_FILES
def test_every_pod_runs_as_a_number_writes_only_to_tmp_and_is_told_of_no_service(file: Path) -> None:
    for pod in pods(render(file=file)).values():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsUser"] > 0
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        writable = [entry["mountPath"] for entry in container["volumeMounts"] if not entry.get("readOnly")]
        assert writable == ["/tmp"]
        assert {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}} in pod["volumes"]
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        assert container["resources"]["limits"]["memory"]


@CI_FILES
def test_no_service_account_mounts_a_token_and_nobody_may_ask_kubernetes_for_anything(file: Path) -> None:
    manifests = render(file=file)
    assert all(
        account["automountServiceAccountToken"] is False for account in of_kind(manifests, "ServiceAccount")
    )
    assert not {manifest["kind"] for manifest in manifests} & {"Role", "ClusterRole", "RoleBinding"}


@CI_FILES
def test_files_with_secrets_are_not_for_everybody(file: Path) -> None:
    for pod in pods(render(file=file)).values():
        for volume in pod["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] & 0o007 == 0
                assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


# --- the profile's own check ----------------------------------------------------------------------------


def _container(pod: Pod) -> dict[str, Any]:
    found: dict[str, Any] = pod["containers"][0]
    return found


BREACHES: dict[str, Callable[[Pod], object]] = {
    "hostNetwork": lambda pod: pod.update(hostNetwork=True),
    "hostPID": lambda pod: pod.update(hostPID=True),
    "hostIPC": lambda pod: pod.update(hostIPC=True),
    "volume host": lambda pod: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    "sysctl kernel.msgmax": lambda pod: pod["securityContext"].update(sysctls=[{"name": "kernel.msgmax"}]),
    "windowsOptions.hostProcess": lambda pod: pod["securityContext"].update(
        windowsOptions={"hostProcess": True}
    ),
    "runAsUser": lambda pod: pod["securityContext"].update(runAsUser=0),
    "appArmorProfile": lambda pod: pod["securityContext"].update(appArmorProfile={"type": "Unconfined"}),
    "seLinuxOptions": lambda pod: pod["securityContext"].update(seLinuxOptions={"user": "root"}),
    "reconciler: privileged": lambda pod: _container(pod)["securityContext"].update(privileged=True),
    "reconciler: allowPrivilegeEscalation": lambda pod: _container(pod)["securityContext"].pop(
        "allowPrivilegeEscalation"
    ),
    "reconciler: capabilities.drop": lambda pod: _container(pod)["securityContext"]["capabilities"].pop(
        "drop"
    ),
    "reconciler: capabilities.add": lambda pod: _container(pod)["securityContext"]["capabilities"].update(
        add=["SYS_ADMIN"]
    ),
    "reconciler: runAsNonRoot": lambda pod: _container(pod)["securityContext"].update(runAsNonRoot=False),
    "reconciler: procMount": lambda pod: _container(pod)["securityContext"].update(procMount="Unmasked"),
    "reconciler: seccompProfile": lambda pod: pod["securityContext"].pop("seccompProfile"),
    "reconciler: hostPort 80": lambda pod: _container(pod)["ports"][0].update(hostPort=80),
    "reconciler: livenessProbe.host": lambda pod: _container(pod)["livenessProbe"]["httpGet"].update(
        host="x"
    ),
}


@pytest.mark.parametrize("fault", BREACHES)
def test_a_breach_of_the_profile_would_be_found(fault: str) -> None:
    pod: Pod = json.loads(json.dumps(named(render(MINIMAL), "Deployment")["spec"]["template"]["spec"]))
    BREACHES[fault](pod)
    assert fault in violations(pod)
