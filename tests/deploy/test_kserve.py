"""The resources in deploy/kserve/ are valid for KServe, and fit the server and the web app."""

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.kubernetes import Resource, render, schema_errors
from support.venvs import OTHER_CLIENTS, python_with, run

from deploy.dockerfile import Dockerfile, read_image

CHECK = Path(__file__).with_name("kserve_errors.py")
PORTS = {"grpc-v2": 8001, "v2": 8080}
# What KServe gives a pod to end.
TERMINATION_SECONDS = 30


def kserve_errors(resources: list[Resource]) -> list[str]:
    python = python_with(*OTHER_CLIENTS)
    found: list[str] = json.loads(run(python, CHECK, stdin=json.dumps(resources)))
    return found


@pytest.fixture(scope="module")
def runtimes(root: Path) -> list[Resource]:
    return render(root / "deploy/kserve")


@pytest.fixture(scope="module")
def services(root: Path) -> list[Resource]:
    paths = sorted((root / "deploy/kserve/services").glob("*.yaml"))
    return [yaml.safe_load(path.read_text()) for path in paths]


def containers(runtime: Resource) -> Mapping[str, Any]:
    return {container["name"]: container for container in runtime["spec"]["containers"]}


def image_name(container: Mapping[str, Any]) -> str:
    """Return the name of an image, without its registry and its tag."""
    path, _, _ = container["image"].rpartition(":")
    return str(path.rpartition("/")[2])


def seconds(container: Mapping[str, Any]) -> float:
    """How long a container may take to end."""
    flags = dict(text.removeprefix("--").split("=") for text in container["args"])
    hook = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    return float(hook + float(flags["drain-seconds"]) + float(flags["grace-seconds"]))


@pytest.mark.slow(seconds=4)
@pytest.mark.timeout(600)  # the first run installs
def test_kserve_accepts_the_resources(runtimes: list[Resource], services: list[Resource]) -> None:
    assert {one["kind"] for one in runtimes} == {"ServingRuntime"}
    assert {one["kind"] for one in services} == {"InferenceService"}
    misspelled, wrong, missing = (copy.deepcopy(dict(services[0])) for _ in range(3))
    misspelled["spec"]["predictor"]["model"]["storageURI"] = "s3://models"
    wrong["spec"]["predictor"]["minReplicas"] = "2"
    del missing["spec"]["predictor"]
    assert kserve_errors([*runtimes, *services]) == []
    found = kserve_errors([misspelled, wrong, missing])
    assert len(found) == 3
    assert "storageURI" in found[0]
    assert "minReplicas" in found[1]
    assert "predictor" in found[2]


@pytest.mark.slow(seconds=3)
@pytest.mark.timeout(600)
def test_kubernetes_accepts_the_pods(runtimes: list[Resource]) -> None:
    """KServe makes a pod of a runtime's containers and volumes."""
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": runtime["metadata"]["name"]},
            "spec": {key: runtime["spec"][key] for key in ("containers", "volumes")},
        }
        for runtime in runtimes
    ]
    assert schema_errors(pods, ["1.30", "1.37"]) == []


def test_a_runtime_serves_its_protocol(runtimes: list[Resource], dockerfile: Dockerfile) -> None:
    protocols = {}
    for runtime in runtimes:
        (protocol,) = runtime["spec"]["protocolVersions"]
        named = containers(runtime)
        protocols[protocol] = named
        # The service of KServe leads to the first port of the transformer, if there is one.
        receiver = named.get("transformer-container", named["kserve-container"])
        assert receiver["ports"][0]["containerPort"] == PORTS[protocol]
        # Knative accepts the port of one container only.
        assert sum(len(container.get("ports", [])) for container in named.values()) == 1
        for container in named.values():
            target = image_name(container).removeprefix("convscope-")
            user = next(s.text for s in dockerfile.steps(target) if s.instruction == "USER")
            assert str(container["securityContext"]["runAsUser"]) == user
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert seconds(container) < TERMINATION_SECONDS
        server = named["kserve-container"]
        assert "--models=/mnt/models" in server["args"]
        assert "8001" in read_image(dockerfile.steps("server")).ports
    assert protocols.keys() == PORTS.keys()


def test_the_page_pushes_the_images(runtimes: list[Resource], root: Path) -> None:
    page = (root / "docs/operations/kserve.md").read_text()
    used = {one["image"] for runtime in runtimes for one in containers(runtime).values()}
    assert set(re.findall(r"^ *\$ docker push (\S+)$", page, re.MULTILINE)) == used
    assert set(re.findall(r"--tag (\S+) \.$", page, re.MULTILINE)) == used


def test_a_service_uses_a_runtime(runtimes: list[Resource], services: list[Resource]) -> None:
    known = {runtime["metadata"]["name"]: runtime["spec"] for runtime in runtimes}
    for service in services:
        model = service["spec"]["predictor"]["model"]
        runtime = known[model["runtime"]]
        assert model["protocolVersion"] in runtime["protocolVersions"]
        formats = [one["name"] for one in runtime["supportedModelFormats"]]
        assert model["modelFormat"]["name"] in formats
