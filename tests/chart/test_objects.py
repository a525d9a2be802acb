"""What the chart makes: objects that every supported Kubernetes takes, wired to each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler import __version__
from reconciler.app.media import DRAIN_SECONDS as SENDING_SECONDS
from reconciler.app.media import LINGER_SECONDS
from reconciler.engine.daemon import DRAIN_SECONDS, RELEASE_SECONDS
from reconciler.telemetry.traces import FLUSH_SECONDS
from tests.chart import schemas
from tests.chart.helm import (
    CHART,
    CI_VALUES,
    MINIMAL,
    NAMESPACE,
    Manifest,
    helm,
    named,
    of_kind,
    pods,
    render,
    template,
    with_values,
)
from tests.chart.restricted import violations

CI_FILES = pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem.removesuffix("-values"))
EVERYTHING = CHART / "ci" / "everything-values.yaml"


@CI_FILES
def test_lint_finds_nothing_to_warn_of(file: Path) -> None:
    ended = helm("lint", "--strict", "--quiet", str(CHART), "--values", str(file))
    assert (ended.status, ended.out.strip(), ended.err.strip()) == (0, "", "")


@CI_FILES
def test_every_object_is_what_its_kind_allows_in_each_version_of_kubernetes(file: Path) -> None:
    found = [
        f"{version} {manifest['kind']} {manifest['metadata']['name']}: {fault}"
        for manifest in render(file=file)
        for version in schemas.VERSIONS
        for fault in schemas.faults(manifest, version)
    ]
    assert found == []


def test_an_unknown_field_would_be_found() -> None:
    deployment = json.loads(json.dumps(named(render(MINIMAL), "Deployment")))
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    assert any("livenesProbe" in fault for fault in schemas.faults(deployment, "1.30"))


def test_a_kubernetes_older_than_those_is_refused() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == f">={schemas.VERSIONS[0]}.0-0"
    ended = template(MINIMAL, "--kube-version", "1.24.17")
    assert "incompatible with Kubernetes" in ended.err


@CI_FILES
def test_names_do_not_collide_and_the_release_owns_every_object(file: Path) -> None:
    manifests = render(file=file)
    hooked = [m for m in manifests if "helm.sh/hook" in m["metadata"].get("annotations", {})]
    for group in (hooked, [m for m in manifests if m not in hooked]):
        labels = [(m["kind"], m["metadata"]["name"]) for m in group]
        assert len(labels) == len(set(labels))
    for manifest in manifests:
        if "beside" not in manifest["metadata"]["name"]:
            assert manifest["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
            assert manifest["metadata"]["namespace"] in {NAMESPACE, "monitoring"}


def test_everything_makes_every_kind_of_object() -> None:
    kinds = {manifest["kind"] for file in CI_VALUES for manifest in render(file=file)}
    assert kinds >= {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Job",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "PodMonitor",
        "Secret",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }


# --- pods -----------------------------------------------------------------------------------------------


@CI_FILES
def test_what_a_pod_mounts_and_reads_is_made_by_the_release_or_named_by_the_values(file: Path) -> None:
    manifests, values = render(file=file), file.read_text(encoding="utf-8")
    made = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}
    for label, pod in pods(manifests).items():
        for kind, name, key in _references(pod):
            manifest = made.get((kind, name))
            if manifest is None:
                assert name in values, f"{label} reads the {kind} {name}, which nobody makes"
            elif key:
                assert key in {**manifest.get("data", {}), **manifest.get("stringData", {})}, (label, name)


def _references(pod: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every ConfigMap and Secret that the pod reads: kind, name, and entry where one is named."""
    for volume in pod["volumes"]:
        if source := volume.get("configMap"):
            yield "ConfigMap", source["name"], ""
        if source := volume.get("secret"):
            for item in source.get("items", [{"key": ""}]):
                yield "Secret", source["secretName"], item["key"]
    for container in pod["containers"]:
        for variable in container["env"]:
            if source := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield "Secret", source["name"], source["key"]


@CI_FILES
def test_the_hook_reads_only_what_is_there_before_the_release(file: Path) -> None:
    manifests = render(file=file)
    jobs = of_kind(manifests, "Job")
    for job in jobs:
        pod = job["spec"]["template"]["spec"]
        before = [
            m
            for m in manifests
            if "pre-install" in m["metadata"].get("annotations", {}).get("helm.sh/hook", "")
        ]
        early = {(m["kind"], m["metadata"]["name"]) for m in before}
        late = {(m["kind"], m["metadata"]["name"]) for m in manifests} - early
        assert not {(kind, name) for kind, name, _ in _references(pod)} & late
        assert ("ServiceAccount", pod["serviceAccountName"]) not in late
        weights = {m["kind"]: int(m["metadata"]["annotations"]["helm.sh/hook-weight"]) for m in before}
        assert all(weight < weights["Job"] for kind, weight in weights.items() if kind != "Job")
    assert len(jobs) == (
        "enabled: false" not in file.read_text(encoding="utf-8").partition("migrations:")[2][:30]
    )


def test_the_hook_runs_before_each_installation_and_upgrade_and_its_log_stays() -> None:
    job = named(render(MINIMAL), "Job", "-migrate")
    annotations = job["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["migrate"]


def test_the_hook_does_what_the_values_ask_for_as_the_role_that_they_name() -> None:
    pod = named(render(file=EVERYTHING), "Job", "-migrate")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == [
        "migrate",
        "--create-tables",
        "--create-index",
        "--install-triggers",
    ]
    assert ("Secret", "gateway-database-owner", "owner") in _references(pod)
    assert ("Secret", "gateway-database", "address") not in _references(pod)


@CI_FILES
def test_helm_test_runs_doctor_as_the_daemon_would(file: Path) -> None:
    manifests = render(file=file)
    (test,) = of_kind(manifests, "Pod")
    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    daemon = of_kind(manifests, "Deployment")[0]["spec"]["template"]["spec"]
    assert test["spec"]["containers"][0]["args"] == ["doctor"]
    for field in ("env", "volumeMounts", "image"):
        assert test["spec"]["containers"][0][field] == daemon["containers"][0][field]
    assert test["spec"]["volumes"] == daemon["volumes"]
    assert test["spec"]["serviceAccountName"] == daemon["serviceAccountName"]


@CI_FILES
def test_what_selects_the_daemon_selects_its_pods_and_no_others(file: Path) -> None:
    rendered = render(file=file)
    manifests = [each for each in rendered if not each["metadata"]["name"].endswith("-reconciler-media")]
    (deployment,) = of_kind(manifests, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    others = [manifest["metadata"]["labels"] for manifest in of_kind(manifests, "Pod")]
    media = [each for each in of_kind(rendered, "Deployment") if each is not deployment]
    others += [each["spec"]["template"]["metadata"]["labels"] for each in media]
    others += [job["spec"]["template"]["metadata"]["labels"] for job in of_kind(manifests, "Job")]
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [service["spec"]["selector"] for service in of_kind(manifests, "Service")]
    for kind in ("PodDisruptionBudget", "PodMonitor"):
        selectors += [found["spec"]["selector"]["matchLabels"] for found in of_kind(manifests, kind)]
    spread = deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
    selectors += [entry["labelSelector"]["matchLabels"] for entry in spread]
    for selector in selectors:
        assert selector.items() <= labels
        assert not any(selector.items() <= other.items() for other in others)


def test_a_pod_may_drain_before_it_is_killed() -> None:
    pod = named(render(MINIMAL), "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS + RELEASE_SECONDS + FLUSH_SECONDS


def test_two_replicas_of_which_one_may_be_away() -> None:
    manifests = render(MINIMAL)
    deployment = named(manifests, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert named(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [entry["topologyKey"] for entry in spread] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]


def test_probes_and_scrapes_ask_where_the_daemon_answers() -> None:
    manifests = render(file=EVERYTHING)
    (container,) = named(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["ports"][0] == {"name": "http", "containerPort": 9090, "protocol": "TCP"}
    asked = {name: container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    assert asked == {
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    (port,) = named(manifests, "Service")["spec"]["ports"]
    (endpoint,) = named(manifests, "ServiceMonitor")["spec"]["endpoints"]
    assert (port["name"], port["port"], port["targetPort"]) == ("http", 80, "http")
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")


def test_a_service_monitor_finds_the_service() -> None:
    manifests = render(file=EVERYTHING)
    monitor, service = named(manifests, "ServiceMonitor"), named(manifests, "Service")
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    # The job is then the Service's name, by which the alerts select.
    assert "jobLabel" not in monitor["spec"]


# --- what restarts the pods -----------------------------------------------------------------------------


def test_a_static_setting_restarts_the_pods_and_a_runtime_one_does_not() -> None:
    def template_of(**changes: object) -> object:
        return named(render(with_values(**changes)), "Deployment")["spec"]["template"]

    before = template_of()
    assert template_of(gracePeriod="1h") != before
    live = {
        "dryRun": False,
        "maxDeletesPerSecond": 7,
        "breaker__maxCount": 1,
        "mediaManagement__mediaRetentionDays": 7,
    }
    assert template_of(**live) == before


def test_a_secret_that_the_chart_makes_restarts_the_pods() -> None:
    def checksum(password: str) -> str:
        values = {"bucket": MINIMAL["bucket"], "database": {"url": f"postgresql://a:{password}@db/gateway"}}
        template = named(render(values), "Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/secret"]
        return found

    assert checksum("one") != checksum("two")


# --- images ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("minimal", f"media-reconciler:{__version__}"),
        ("everything", "registry.internal:5000/platform/media-reconciler:0.1.0"),
        ("digest", f"registry.internal:5000/media-reconciler@sha256:{'0123456789abcdef' * 4}"),
    ],
)
def test_every_pod_runs_the_image_that_the_values_name(file: str, image: str) -> None:
    found = pods(render(file=CHART / "ci" / f"{file}-values.yaml"))
    assert {container["image"] for pod in found.values() for container in pod["containers"]} == {image}


def test_the_chart_is_of_the_programs_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__


# --- identity, network, extras --------------------------------------------------------------------------


def test_a_role_is_an_annotation_of_the_service_account_and_no_key_is_anywhere() -> None:
    manifests = render(file=CHART / "examples" / "aws-irsa.yaml")
    account = named(manifests, "ServiceAccount")
    assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]
    (container,) = named(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert not [entry["name"] for entry in container["env"] if entry["name"].startswith("AWS_")]


def test_workload_identity_labels_the_pods_and_uses_the_account_that_is_there() -> None:
    manifests = render(file=CHART / "ci" / "workload-identity-values.yaml")
    assert of_kind(manifests, "ServiceAccount") == []
    template = named(manifests, "Deployment")["spec"]["template"]
    assert template["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert template["spec"]["serviceAccountName"] == "media-identity"


def test_the_network_policy_lets_out_dns_postgres_and_the_store_alone() -> None:
    spec = named(render(file=CHART / "ci" / "trial-values.yaml"), "NetworkPolicy")["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [5432], [9000]]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["ingress"]] == [[8080]]
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_the_network_policy_lets_traces_out_where_they_go_somewhere() -> None:
    spec = named(render(file=EVERYTHING), "NetworkPolicy")["spec"]
    ports = [{port["port"] for port in rule["ports"]} for rule in spec["egress"]]
    assert ports == [{53, 5353}, {5432, 6432}, {9000}, {4318}, {443}, {443}, {3128}]


def test_the_admin_api_is_off_unless_somebody_may_call_it() -> None:
    manifests = render(with_values(networkPolicy__enabled=True))
    assert [m["metadata"]["name"] for m in of_kind(manifests, "Service")] == ["media-media-reconciler"]
    assert of_kind(manifests, "Ingress") == []
    (container,) = named(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert [port["name"] for port in container["ports"]] == ["http"]
    assert len(named(manifests, "NetworkPolicy")["spec"]["ingress"]) == 1


def test_the_admin_api_has_a_service_a_port_in_the_policy_and_an_ingress_of_its_own() -> None:
    manifests = render(file=EVERYTHING)
    service = named(manifests, "Service", "-admin")
    assert service["spec"]["ports"] == [
        {"name": "admin", "port": 443, "targetPort": "admin", "protocol": "TCP"}
    ]
    assert service["spec"]["selector"] == named(manifests, "Service")["spec"]["selector"]
    (container,) = named(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": "admin", "containerPort": 9091, "protocol": "TCP"} in container["ports"]
    rule = named(manifests, "NetworkPolicy")["spec"]["ingress"][1]
    assert [port["port"] for port in rule["ports"]] == [9091]
    assert rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == "ingress"
    spec = named(manifests, "Ingress", "-admin")["spec"]
    assert spec["tls"] == [{"hosts": ["reconciler.example.org"], "secretName": "reconciler-tls"}]
    (path,) = spec["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": "media-media-reconciler-admin", "port": {"name": "admin"}}


MEDIA = CHART / "ci" / "media-values.yaml"


def test_the_media_service_is_off_unless_it_is_asked_for() -> None:
    assert not [m for m in render(file=EVERYTHING) if m["metadata"]["name"].endswith("-reconciler-media")]


def test_the_media_service_has_pods_of_its_own_and_all_that_goes_with_them() -> None:
    manifests = render(file=MEDIA)
    deployment = named(manifests, "Deployment", "-media")["spec"]
    labels = deployment["selector"]["matchLabels"]
    daemon = named(manifests, "Deployment")["spec"]["selector"]["matchLabels"]
    assert labels["app.kubernetes.io/component"] == "media"
    assert daemon["app.kubernetes.io/component"] == "daemon"
    assert "replicas" not in deployment
    (container,) = deployment["template"]["spec"]["containers"]
    assert container["args"] == ["media"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8080, "media": 9092}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "links")
    assert mount == {"name": "links", "mountPath": "/etc/reconciler/links", "readOnly": True}
    service = named(manifests, "Service", "-media")["spec"]
    assert (service["type"], service["selector"]) == ("LoadBalancer", labels)
    assert service["ports"] == [{"name": "media", "port": 8443, "targetPort": "media", "protocol": "TCP"}]
    scaled = named(manifests, "HorizontalPodAutoscaler", "-media")["spec"]
    assert (scaled["minReplicas"], scaled["maxReplicas"]) == (3, 20)
    assert scaled["scaleTargetRef"]["name"] == "media-media-reconciler-media"
    budget = named(manifests, "PodDisruptionBudget", "-media")["spec"]
    assert (budget["maxUnavailable"], budget["selector"]["matchLabels"]) == ("25%", labels)
    policy = named(manifests, "NetworkPolicy", "-media")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    (rule,) = policy["ingress"]
    assert [port["port"] for port in rule["ports"]] == [9092]
    assert rule["from"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]


def test_pods_end_after_the_media_that_they_send() -> None:
    spec = named(render(file=MEDIA), "Deployment", "-media")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > LINGER_SECONDS + SENDING_SECONDS


def test_the_tokens_are_a_directory_that_the_kubelet_swaps() -> None:
    pod = named(render(file=EVERYTHING), "Deployment")["spec"]["template"]["spec"]
    (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "admin-tokens")
    assert mount == {"name": "admin-tokens", "mountPath": "/etc/reconciler/admin", "readOnly": True}


@pytest.mark.parametrize(
    ("url", "port"),
    [("", 443), ("http://minio", 80), ("https://s3.internal", 443), ("http://[fd00::1]:9000", 9000)],
)
def test_the_stores_port_follows_from_its_address(url: str, port: int) -> None:
    values = with_values(bucket__endpointUrl=url, networkPolicy__enabled=True)
    spec = named(render(values), "NetworkPolicy")["spec"]
    assert [entry["port"] for entry in spec["egress"][2]["ports"]] == [port]


def test_extra_objects_are_templates_whether_yaml_or_text() -> None:
    found = [m for m in render(file=EVERYTHING) if "beside" in m["metadata"]["name"]]
    assert [m["metadata"]["name"] for m in found] == ["media-beside", "media-beside-too"]
    assert found[0]["data"] == {"bucket": "media-archive"}


def test_extras_reach_the_daemon() -> None:
    pod = named(render(file=EVERYTHING), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["run", "--log-level", "debug"]
    assert {entry["name"] for entry in container["env"]} >= {"AWS_CA_BUNDLE", "NODE_NAME"}
    collector = {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.monitoring:4318"}
    assert collector in container["env"]
    assert container["envFrom"] == [{"configMapRef": {"name": "proxy", "optional": True}}]
    assert "authority" in {volume["name"] for volume in pod["volumes"]}
    assert "/etc/ssl/internal" in {mounted["mountPath"] for mounted in container["volumeMounts"]}


def test_each_dashboard_becomes_a_config_map_that_grafana_finds() -> None:
    files = sorted((CHART / "files" / "dashboards").glob("*.json"))
    found = [
        m
        for m in of_kind(render(file=EVERYTHING), "ConfigMap")
        if m["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]
    assert sorted(name for m in found for name in m["data"]) == [file.name for file in files]
    for manifest in found:
        for name, text in manifest["data"].items():
            plain = (CHART / "files" / "dashboards" / name).read_text(encoding="utf-8")
            ours = plain.replace('"docs/runbooks"', '"https://wiki.example/runbooks"')
            assert ours != plain
            assert json.loads(text) == json.loads(ours)


def test_without_an_address_of_the_runbooks_no_panel_links_to_them() -> None:
    made = of_kind(render(with_values(dashboards__enabled=True)), "ConfigMap")
    texts = {name: text for m in made for name, text in m["data"].items() if name.endswith(".json")}
    assert len(texts) == len(sorted((CHART / "files" / "dashboards").glob("*.json")))
    for name, text in texts.items():
        plain = json.loads((CHART / "files" / "dashboards" / name).read_text(encoding="utf-8"))
        linked = [panel for panel in plain["panels"] if panel.get("links")]
        assert linked
        for panel in linked:
            panel["links"] = []
        (place,) = (entry for entry in plain["templating"]["list"] if entry["name"] == "runbooks")
        place |= {"query": "", "current": {"text": "", "value": ""}}
        assert json.loads(text) == plain


def test_long_names_stay_within_what_kubernetes_takes() -> None:
    ended = helm("template", "r" * 53, str(CHART), "--values", str(CI_VALUES[0]))
    assert ended.status == 0, ended.err
    made: list[Manifest] = [document for document in yaml.safe_load_all(ended.out) if document]
    assert max(len(manifest["metadata"]["name"]) for manifest in made) <= 63


@pytest.mark.parametrize(
    ("disk", "limit"), [("40GiB", "80Gi"), ("1.5 TB", "3T"), ("9kB", "18k"), (1048576, 2097152)]
)
def test_a_sweep_by_inventory_has_room_of_its_own(disk: object, limit: object) -> None:
    """What the files may take, and the comparison; none where `directory` is on a volume that one brings."""
    inventory = {"id": "daily", "disk": disk}
    made = pods(render(with_values(sweep__source="inventory", inventory=inventory)))
    room = {"name": "inventory", "emptyDir": {"sizeLimit": limit}}
    (daemon,) = (label for label in made if label.startswith("Deployment"))
    assert [label for label, pod in made.items() if room in pod["volumes"]] == [daemon]
    assert {"name": "inventory", "mountPath": "/inventory"} in made[daemon]["containers"][0]["volumeMounts"]
    own = {**inventory, "directory": "/scratch"}
    brought = pods(render(with_values(sweep__source="inventory", inventory=own)))
    assert all(volume["name"] != "inventory" for pod in brought.values() for volume in pod["volumes"])


# --- Ray ------------------------------------------------------------------------------------------------

RAY = with_values(
    sweep__source="inventory",
    inventory={"id": "daily", "engine": "ray", "ray": {"enabled": True, "workers": {"replicas": 5}}},
    bucket__credentials={"existingSecret": "store"},
    events__webhook={"url": "https://hook.example", "existingSecret": "signing"},
    admin__tokens={"existingSecret": "tokens"},
    extraEnv=[{"name": "AWS_REGION", "value": "eu-west-1"}, {"name": "TOKEN", "value": "secret"}],
    networkPolicy__enabled=True,
)


def _ray_pods() -> Mapping[str, Manifest]:
    """The templates of Ray's pods, by what they are."""
    cluster = named(render(RAY), "RayCluster", "-ray")["spec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert [workers[name] for name in ("replicas", "minReplicas", "maxReplicas")] == [5, 5, 5]
    return {"head": cluster["headGroupSpec"]["template"], "worker": workers["template"]}


def test_a_cluster_of_ray_is_made_only_where_it_is_asked_for() -> None:
    assert (
        of_kind(render(with_values(sweep__source="inventory", inventory={"engine": "ray"})), "RayCluster")
        == []
    )
    assert named(render(RAY), "RayCluster", "-ray")["apiVersion"] == "ray.io/v1"


def test_pods_of_ray_keep_to_the_restricted_profile_and_know_the_store_alone() -> None:
    """The database's address, tokens and whatever else `extraEnv` has are none of theirs."""
    for what, pod in _ray_pods().items():
        spec = pod["spec"]
        (container,) = spec["containers"]
        daemon = named(render(RAY), "Deployment")["spec"]["template"]["spec"]
        assert container["image"] == daemon["containers"][0]["image"]
        assert violations(spec) == []
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {name for _, name, _ in _references(spec)} == {"store"}
        variables = {each["name"] for each in container["env"]}
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} <= variables, what
        assert "TOKEN" not in variables
        assert not any(name.startswith("RECONCILER_") for name in variables)
        assert "envFrom" not in container
        assert {"name": "GRPC_ENABLE_FORK_SUPPORT", "value": "0"} in container["env"]
        assert spec["serviceAccountName"] == daemon["serviceAccountName"]
        assert spec["automountServiceAccountToken"] is False


def test_the_daemon_reaches_the_head_by_a_service_of_its_own() -> None:
    manifests = render(RAY)
    service = named(manifests, "Service", "-ray")["spec"]
    (daemon,) = named(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": "RAY_ADDRESS", "value": "ray://media-media-reconciler-ray:10001"} in daemon["env"]
    assert [port["port"] for port in service["ports"]] == [10001]
    chosen = service["selector"].items()
    assert [what for what, pod in _ray_pods().items() if chosen <= pod["metadata"]["labels"].items()] == [
        "head"
    ]


def test_nobody_but_the_release_reaches_ray_and_ray_no_database() -> None:
    manifests = render(RAY)
    policy = named(manifests, "NetworkPolicy", "-ray")["spec"]
    chosen = policy["podSelector"]["matchLabels"]
    released = named(manifests, "NetworkPolicy")["spec"]
    for pod in _ray_pods().values():
        labels = pod["metadata"]["labels"].items()
        assert chosen.items() <= labels
        # Theirs is the only policy: what the release's lets in, it would let in to them as well.
        assert not released["podSelector"]["matchLabels"].items() <= labels
    among, client = policy["ingress"]
    assert among == {"from": [{"podSelector": {"matchLabels": chosen}}]}
    assert client["from"] == [{"podSelector": released["podSelector"]}]
    assert [port["port"] for port in client["ports"]] == [10001]
    open_ports = {port["port"] for rule in policy["egress"] if "to" not in rule for port in rule["ports"]}
    assert open_ports == {53, 443}
    to_ray = [{"podSelector": {"matchLabels": chosen}}]
    assert {"ports": client["ports"], "to": to_ray} in released["egress"]


def test_who_may_reach_ray_is_said_without_other_policies_too() -> None:
    policy = named(render({**RAY, "networkPolicy": {"enabled": False}}), "NetworkPolicy", "-ray")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert len(policy["ingress"]) == 2
    assert "egress" not in policy
