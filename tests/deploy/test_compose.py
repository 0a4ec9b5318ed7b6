"""docker-compose.yml is valid, closed to other machines, and consistent with its images."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from convscope.server.process.settings import ProcessSettings
from convscope.web.settings import WebSettings
from deploy.dockerfile import Dockerfile, read_image

MODELS = ("efficientnet_lite0", "digits")


def test_it_follows_the_compose_specification(root: Path) -> None:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    command = [*checker, "vendor.compose-spec", str(root / "docker-compose.yml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = {name: service.get("ports", []) for name, service in compose["services"].items()}
    published = [port.rsplit(":", 2) for all_ports in ports.values() for port in all_ports]
    assert published
    assert {address for address, _, _ in published} == {"127.0.0.1"}
    assert [port.rpartition(":")[2] for port in ports["server"]] == ["8001", "8002"]


def test_every_service_is_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_the_server_can_write_only_to_tmp(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"]
    assert server["read_only"] is True
    assert server["tmpfs"] == ["/tmp"]
    assert server["volumes"] == ["${CONVSCOPE_MODELS_DIR:-models}:/models:ro"]


def test_the_server_starts_after_the_models_are_made(compose: dict[str, Any]) -> None:
    needs = compose["services"]["server"]["depends_on"]
    assert needs == {"exporter": {"condition": "service_completed_successfully"}}


def test_the_server_has_time_to_drain(compose: dict[str, Any]) -> None:
    needed = ProcessSettings.drain_seconds + ProcessSettings.grace_seconds
    assert float(compose["services"]["server"]["stop_grace_period"].removesuffix("s")) > needed


@pytest.mark.parametrize("service", ["server", "web"])
def test_the_health_check_is_the_images_own(
    compose: dict[str, Any], dockerfile: Dockerfile, service: str
) -> None:
    image = read_image(dockerfile.steps(service))
    assert compose["services"][service]["healthcheck"]["test"] == ["CMD", *image.health_command]


def test_the_web_app_calls_the_server_and_has_time_to_drain(
    compose: dict[str, Any], dockerfile: Dockerfile
) -> None:
    web = compose["services"]["web"]
    image = read_image(dockerfile.steps("web"))
    host, _, port = image.command[-1].partition(":")
    assert host in compose["services"]
    assert port in read_image(dockerfile.steps(host)).ports
    needed = WebSettings.drain_seconds + WebSettings.grace_seconds
    assert float(web["stop_grace_period"].removesuffix("s")) > needed
    assert web["read_only"] is True
    assert [mapping.rpartition(":")[2] for mapping in web["ports"]] == image.ports


def test_built_services_name_a_stage_and_the_others_a_version(
    compose: dict[str, Any], dockerfile: Dockerfile
) -> None:
    for name, service in compose["services"].items():
        if "build" in service:
            assert service["build"]["target"] in dockerfile.stages, name
        else:
            version = service["image"].partition(":")[2].removeprefix("v")
            assert version.count(".") == 2, f"{name} is not pinned: {service['image']}"


def test_mounted_files_exist(compose: dict[str, Any], root: Path) -> None:
    mounts = [
        with_values(mount)
        for service in compose["services"].values()
        for mount in service.get("volumes", [])
    ]
    folders = [mount.split(":") for mount in mounts if mount.startswith("./")]
    assert folders
    for source, _, mode in folders:
        assert (root / source).exists(), source
        assert mode == "ro", source
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith("./")}
    assert named == set(compose["volumes"])


def test_a_folder_of_ones_own_is_mounted_for_reading(compose: dict[str, Any]) -> None:
    (mount,) = compose["services"]["server"]["volumes"]
    assert with_values(mount) == "models:/models:ro"
    assert with_values(mount, CONVSCOPE_MODELS_DIR="/srv/models") == "/srv/models:/models:ro"


@pytest.mark.parametrize("choice", ["default", "cpu"])
def test_pytorch_comes_from_the_chosen_index(
    compose: dict[str, Any], root: Path, choice: str
) -> None:
    (argument,) = compose["services"]["exporter"]["build"]["args"].items()
    name, value = argument
    assert with_values(value) == "default"
    steps = Dockerfile(root / "Dockerfile", **{name: choice}).steps("exporter-builder")
    indexes = [step.text for step in steps if "whl/cpu" in step.text]
    assert len(indexes) == (choice == "cpu")
    assert any("[exporter]" in step.text for step in steps)


def with_values(text: str, **values: str) -> str:
    """Return a text of the file with the values of its variables, or their defaults."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: values.get(found[1], found[2]), text)


def test_configured_names_are_those_of_the_services(compose: dict[str, Any], root: Path) -> None:
    scrape = yaml.safe_load((root / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = scrape["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["server:8002"]}]
    (source,) = datasources(root)
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    assert {"server", "prometheus"} <= set(compose["services"])


def test_prometheus_finds_its_configuration_and_rules(compose: dict[str, Any], root: Path) -> None:
    mounts = dict(mount.split(":")[:2] for mount in compose["services"]["prometheus"]["volumes"])
    config = "./deploy/prometheus/prometheus.yml"
    assert mounts[config] == "/etc/prometheus/prometheus.yml"  # where the image looks for it
    (rules,) = yaml.safe_load((root / config).read_text())["rule_files"]
    assert mounts[f"./deploy/prometheus/{rules}"] == f"/etc/prometheus/{rules}"


def test_grafana_finds_the_dashboards_where_they_are_mounted(
    compose: dict[str, Any], root: Path
) -> None:
    grafana = compose["services"]["grafana"]
    mounts = dict(mount.split(":")[:2] for mount in grafana["volumes"])
    provisioning = root / "deploy/grafana/provisioning/dashboards/convscope.yml"
    (provider,) = yaml.safe_load(provisioning.read_text())["providers"]
    assert provider["options"]["path"] == mounts["./deploy/grafana/dashboards"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == Path(provider["options"]["path"])
    assert (root / "deploy/grafana/dashboards" / home.name).exists()


def datasources(root: Path) -> list[dict[str, Any]]:
    path = root / "deploy/grafana/provisioning/datasources/prometheus.yml"
    sources: list[dict[str, Any]] = yaml.safe_load(path.read_text())["datasources"]
    return sources


def make_models(compose: dict[str, Any], repository: Path) -> "subprocess.CompletedProcess[str]":
    """Run the script of the exporter service on a repository."""
    exporter = compose["services"]["exporter"]
    (script,) = exporter["command"]
    assert "$" not in script
    script = script.replace("/models", str(repository))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [*exporter["entrypoint"], script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_models_that_exist_are_left_alone(compose: dict[str, Any], tmp_path: Path) -> None:
    for model in MODELS:
        (tmp_path / model / "1").mkdir(parents=True)
        (tmp_path / model / "1" / "manifest.json").write_text("{}")
    result = make_models(compose, tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("missing", MODELS)
def test_each_missing_model_is_exported(
    compose: dict[str, Any], tmp_path: Path, missing: str
) -> None:
    """The exporter accepts the command, and then finds that the directory exists."""
    for model in MODELS:
        (tmp_path / model / "1").mkdir(parents=True)
        if model != missing:
            (tmp_path / model / "1" / "manifest.json").write_text("{}")
    result = make_models(compose, tmp_path)
    assert result.returncode == 1
    assert f"{missing} v1 exists" in result.stderr
