"""The manifest in deploy/kubernetes/ fits the server and its image."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from convscope.server.process.settings import ProcessSettings
from deploy.dockerfile import Dockerfile, read_image


@pytest.fixture(scope="module")
def pod(root: Path) -> dict[str, Any]:
    documents = list(yaml.safe_load_all((root / "deploy/kubernetes/server.yaml").read_text()))
    spec: dict[str, Any] = documents[0]["spec"]["template"]["spec"]
    return spec


def test_the_pod_has_time_to_drain(pod: dict[str, Any]) -> None:
    flags = pod["containers"][0]["args"]
    drain = float(flags[flags.index("--drain-seconds") + 1])
    assert pod["terminationGracePeriodSeconds"] > drain + ProcessSettings.grace_seconds


def test_ports_and_user_are_those_of_the_image(pod: dict[str, Any], dockerfile: Dockerfile) -> None:
    container = pod["containers"][0]
    image = read_image(dockerfile.steps("server"))
    assert [str(port["containerPort"]) for port in container["ports"]] == image.ports
    user = next(step.text for step in dockerfile.steps("server") if step.instruction == "USER")
    assert str(pod["securityContext"]["runAsUser"]) == user
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_probes_of_the_page_are_those_of_the_manifest(pod: dict[str, Any], root: Path) -> None:
    page = (root / "docs/operations/kubernetes.md").read_text()
    shown = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    container = pod["containers"][0]
    for name, probe in shown.items():
        ours = container[name]
        if "httpGet" in ours:  # the manifest names the port
            ours = ours | {"httpGet": {"path": "/metrics", "port": 8002}}
        assert probe == ours, name
