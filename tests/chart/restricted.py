"""The Restricted profile of the Pod Security Standards, field by field.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
SELINUX = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})


def violations(pod: Mapping[str, Any]) -> list[str]:
    """What the profile forbids in a pod's specification."""
    own = pod.get("securityContext", {})
    found = [*_of_pod(pod, own)]
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in pod.get(field, ()):
            found += [f"{container['name']}: {fault}" for fault in _of_container(container, own)]
    return found


def _of_pod(pod: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes", ()):
        if not {*volume} - {"name"} <= VOLUMES:
            yield f"volume {volume['name']}"
    for sysctl in context.get("sysctls", ()):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "windowsOptions.hostProcess"
    yield from _of_either(context)


def _of_container(container: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("privileged"):
        yield "privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    yield from _of_capabilities(context.get("capabilities", {}))
    if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot"
    if context.get("procMount", "Default") != "Default":
        yield "procMount"
    profile = context.get("seccompProfile", pod.get("seccompProfile", {}))
    if profile.get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "seccompProfile"
    yield from _of_network(container)
    yield from _of_either(context)


def _of_capabilities(capabilities: Mapping[str, Any]) -> Iterator[str]:
    if "ALL" not in capabilities.get("drop", ()):
        yield "capabilities.drop"
    if {*capabilities.get("add", ())} - {"NET_BIND_SERVICE"}:
        yield "capabilities.add"


def _of_network(container: Mapping[str, Any]) -> Iterator[str]:
    for port in container.get("ports", ()):
        if port.get("hostPort"):
            yield f"hostPort {port['hostPort']}"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        action = container.get(probe, {})
        if any(action.get(kind, {}).get("host") for kind in ("httpGet", "tcpSocket")):
            yield f"{probe}.host"


def _of_either(context: Mapping[str, Any]) -> Iterator[str]:
    """Fields that pods and containers both have."""
    if context.get("runAsUser") == 0:
        yield "runAsUser"
    if context.get("runAsNonRoot", True) is not True:
        yield "runAsNonRoot"
    if context.get("seccompProfile", {}).get("type") == "Unconfined":
        yield "seccompProfile"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield "appArmorProfile"
    options = context.get("seLinuxOptions", {})
    if options.get("type", "") not in SELINUX or options.get("user") or options.get("role"):
        yield "seLinuxOptions"
