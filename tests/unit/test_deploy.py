"""What deploy/ hands to others fits the gateway: its settings, ports, user and probes."""

import re
from pathlib import Path
from typing import Any

import yaml

from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
MANIFESTS = {
    (each["kind"], each["metadata"]["name"]): each
    for each in yaml.safe_load_all((DEPLOY / "kubernetes/tollgate.yaml").read_text())
}
DRAIN_SECONDS = Settings.model_fields["drain_seconds"].default
KNOWN = {f"TOLLGATE_{name.upper()}" for name in Settings.model_fields}
PORTS = {
    int(str(Settings.model_fields[name].default).rpartition(":")[2])
    for name in ("listen", "admin_listen", "http_listen", "metrics_listen")
}


def container() -> Any:
    (found,) = MANIFESTS["Deployment", "tollgate"]["spec"]["template"]["spec"]["containers"]
    return found


def test_every_setting_that_is_named_exists() -> None:
    named = {
        name
        for path in DEPLOY.rglob("*")
        if path.is_file()
        for name in re.findall(r"\bTOLLGATE_[A-Z_]+\b", path.read_text())
    }
    assert {"TOLLGATE_OPERATOR_TOKEN", "TOLLGATE_REDIS_URL", "TOLLGATE_DATABASE_URL", "TOLLGATE_WORKERS"} <= named
    assert named <= KNOWN


def test_whoever_stops_it_waits_for_it_to_drain() -> None:
    (stop_seconds,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", (DEPLOY / "systemd/tollgate.service").read_text())
    assert int(stop_seconds) > DRAIN_SECONDS
    assert int(COMPOSE["services"]["gateway"]["stop_grace_period"].rstrip("s")) > DRAIN_SECONDS
    pod = MANIFESTS["Deployment", "tollgate"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS


def test_the_ports_are_those_it_listens_on() -> None:
    assert {each["containerPort"] for each in container()["ports"]} == PORTS
    published = {int(each.rpartition(":")[2]) for each in COMPOSE["services"]["gateway"]["ports"]}
    assert published < PORTS
    names = {each["name"] for each in container()["ports"]}
    for kind, name in MANIFESTS:
        if kind == "Service":
            for port in MANIFESTS[kind, name]["spec"]["ports"]:
                assert port["targetPort"] in names
    assert container()["readinessProbe"]["grpc"]["port"] in PORTS


def test_nothing_is_published_beyond_this_machine() -> None:
    for service in COMPOSE["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_probes_ask_what_is_answered() -> None:
    answered = (ROOT / "gateway/web/health.py").read_text()
    for name in ("livenessProbe", "startupProbe"):
        assert f'"{container()[name]["httpGet"]["path"]}"' in answered


def test_it_runs_as_the_user_of_the_image_in_its_directory() -> None:
    security = MANIFESTS["Deployment", "tollgate"]["spec"]["template"]["spec"]["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in DOCKERFILE
    mounted = {each["mountPath"] for each in container()["volumeMounts"]}
    assert "VOLUME /var/lib/tollgate" in DOCKERFILE
    assert "/var/lib/tollgate" in mounted
    assert "gateway:/var/lib/tollgate" in COMPOSE["services"]["gateway"]["volumes"]


def test_enough_gateways_stay_while_one_is_replaced() -> None:
    spec = MANIFESTS["Deployment", "tollgate"]["spec"]
    assert MANIFESTS["PodDisruptionBudget", "tollgate"]["spec"]["minAvailable"] < spec["replicas"]
    assert MANIFESTS["HorizontalPodAutoscaler", "tollgate"]["spec"]["minReplicas"] == spec["replicas"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    labels = spec["template"]["metadata"]["labels"]
    for (kind, _), manifest in MANIFESTS.items():
        if kind == "Service":
            assert manifest["spec"]["selector"] == labels


def test_the_store_of_the_compose_file_is_one_that_the_gateway_takes() -> None:
    command = " ".join(COMPOSE["services"]["store"]["entrypoint"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_files_that_are_mounted_exist() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / "compose" / source).is_file(), source
            else:
                assert source in COMPOSE["volumes"]


def test_the_image_can_speak_to_the_database_of_the_compose_file() -> None:
    assert "postgresql://" in COMPOSE["services"]["gateway"]["environment"]["TOLLGATE_DATABASE_URL"]
    assert re.search(r"^asyncpg==", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE)


def test_prometheus_watches_the_same_with_compose() -> None:
    alone = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    composed = yaml.safe_load((DEPLOY / "compose/prometheus.yml").read_text())
    assert composed["rule_files"] == alone["rule_files"]
    (job,) = composed["scrape_configs"]
    assert job["job_name"] == "tollgate"
    assert job["static_configs"][0]["targets"] == ["gateway:9464"]
