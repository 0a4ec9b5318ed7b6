"""The resources in deploy/kubernetes/ are valid, and fit the server and its image."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.calls import connected, image_request
from support.kubernetes import Resource, custom_resource_errors, render, schema_errors
from support.server import ServerProcess

from convscope.server.config.flags import FLAGS
from convscope.server.observability.metrics.families import STAGES, TABLE
from deploy.dockerfile import Dockerfile, read_image

# What a pod has: the quota of its limit, a read-only root, one directory to write to, no home, and
# no rights. Only this process sees the mounts.
CONFINED = """
set -e
mount --bind "$1" /sys/fs/cgroup
mount -t tmpfs tmpfs "$2"
mount -o remount,bind,ro /
shift 2
exec setpriv --bounding-set=-all --inh-caps=-all env -i HOME=/nonexistent "$@"
"""
# The oldest one has the preStop hook `sleep`; the newest three are maintained.
VERSIONS = ("1.30", "1.35", "1.36", "1.37")
OVERLAYS = ("volume", "object-store")
CUSTOM = {"ScaledObject", "PodMonitor"}


@pytest.fixture(scope="module")
def overlays(root: Path) -> dict[str, list[Resource]]:
    """What kustomize makes of each overlay."""
    return {name: render(root / "deploy/kubernetes/overlays" / name) for name in OVERLAYS}


@pytest.fixture(scope="module")
def publishing(root: Path) -> dict[str, Any]:
    """The Job that publishes a model to the volume."""
    job: dict[str, Any] = yaml.safe_load((root / "deploy/kubernetes/publish.yaml").read_text())
    return job


@pytest.fixture(scope="module", params=OVERLAYS)
def resources(
    request: pytest.FixtureRequest, overlays: dict[str, list[Resource]]
) -> dict[str, Resource]:
    """The resources of one overlay by their kind."""
    rendered = overlays[request.param]
    by_kind = {resource["kind"]: resource for resource in rendered}
    assert len(by_kind) == len(rendered)
    return by_kind


@pytest.fixture(scope="module")
def pod(resources: dict[str, Resource]) -> dict[str, Any]:
    spec: dict[str, Any] = resources["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (server,) = pod["containers"]
    return dict(server)


def flag(container: dict[str, Any], name: str) -> float:
    args = container["args"]
    return float(args[args.index(name) + 1])


@pytest.mark.slow(seconds=8)
@pytest.mark.timeout(600)  # the first run installs
def test_several_versions_of_kubernetes_accept_the_resources(
    overlays: dict[str, list[Resource]], publishing: dict[str, Any]
) -> None:
    known = [one for found in overlays.values() for one in found if one["kind"] not in CUSTOM]
    assert schema_errors([*known, publishing], VERSIONS) == []
    misspelled = copy.deepcopy(next(dict(one) for one in known if one["kind"] == "Deployment"))
    misspelled["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    (error,) = schema_errors([misspelled], ["1.37"])
    assert "readynessProbe" in error


@pytest.mark.slow(seconds=8)
@pytest.mark.timeout(600)  # the first run installs
def test_keda_and_the_prometheus_operator_accept_their_resources(
    overlays: dict[str, list[Resource]],
) -> None:
    custom = [one for found in overlays.values() for one in found if one["kind"] in CUSTOM]
    assert {one["kind"] for one in custom} == CUSTOM
    assert custom_resource_errors(custom) == []
    misspelled = copy.deepcopy(next(dict(one) for one in custom if one["kind"] == "ScaledObject"))
    misspelled["spec"]["minReplicas"] = 3
    assert "minReplicas" in "".join(custom_resource_errors([misspelled]))


def test_a_pod_drains_before_it_is_killed(pod: dict[str, Any], container: dict[str, Any]) -> None:
    hook = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = flag(container, "--drain-seconds")
    needed = hook + drain + flag(container, "--grace-seconds")
    assert pod["terminationGracePeriodSeconds"] > needed
    # Within the hook and the drain, the pod is not ready for all who look at its probe.
    probe = container["readinessProbe"]
    assert hook + drain >= probe["periodSeconds"] + probe["timeoutSeconds"]


def test_the_pod_fits_the_image(
    pod: dict[str, Any], container: dict[str, Any], dockerfile: Dockerfile
) -> None:
    image = read_image(dockerfile.steps("server"))
    assert [str(port["containerPort"]) for port in container["ports"]] == image.ports
    user = next(step.text for step in dockerfile.steps("server") if step.instruction == "USER")
    assert str(pod["securityContext"]["runAsUser"]) == user
    names = [text.partition("=")[0] for text in container["args"] if text.startswith("--")]
    names += [
        "--" + variable["name"].removeprefix("CONVSCOPE_").lower().replace("_", "-")
        for variable in container.get("env", [])
    ]
    assert {name.removeprefix("--").replace("-", "_") for name in names} <= FLAGS.keys()
    # Service links would set variables that begin as the settings do.
    assert pod["enableServiceLinks"] is False


def test_the_pod_is_confined(
    resources: dict[str, Resource], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    labels = resources["Namespace"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    own = container["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}


def test_the_job_publishes_to_the_volume_as_the_server_reads_it(
    overlays: dict[str, list[Resource]], publishing: dict[str, Any]
) -> None:
    (server,) = (one for one in overlays["volume"] if one["kind"] == "Deployment")
    pod, job = (each["spec"]["template"]["spec"] for each in (server, publishing))
    (container,), (exporter,) = pod["containers"], job["containers"]
    assert job["securityContext"].items() <= pod["securityContext"].items()
    assert exporter["securityContext"] == container["securityContext"]
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in (*pod["volumes"], *job["volumes"])
        if "persistentVolumeClaim" in volume
    ]
    assert claims == ["convscope-models"] * 2
    (mount,) = (one for one in exporter["volumeMounts"] if one["name"] == "models")
    assert not mount.get("readOnly")
    assert exporter["args"][-2:] == ["--repository", mount["mountPath"]]
    # The policy and the service select the pods of the server only.
    assert "metadata" not in publishing["spec"]["template"]


def test_the_page_pushes_the_images(
    overlays: dict[str, list[Resource]], publishing: dict[str, Any], root: Path
) -> None:
    page = (root / "docs/operations/kubernetes.md").read_text()
    pods = [one for found in overlays.values() for one in found if one["kind"] == "Deployment"]
    used = {
        container["image"]
        for one in (*pods, publishing)
        for container in one["spec"]["template"]["spec"]["containers"]
    }
    assert set(re.findall(r"^\$ docker push (\S+)$", page, re.MULTILINE)) == used
    assert set(re.findall(r"--tag (\S+) \.$", page, re.MULTILINE)) == used


def test_the_limit_is_whole_cores_and_reserved(container: dict[str, Any]) -> None:
    limit, request = (container["resources"][name]["cpu"] for name in ("limits", "requests"))
    assert limit == request
    assert int(limit) >= 1  # a fraction would raise ValueError


@pytest.mark.slow(seconds=5)
def test_a_confined_server_uses_its_limit_and_writes_to_tmp_only(
    tiny_repository: Path,
    overlays: dict[str, list[Resource]],
    dockerfile: Dockerfile,
    tmp_path: Path,
) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("it needs the rights to mount")
    cgroup, tmp = tmp_path / "cgroup", tmp_path / "tmp"
    cgroup.mkdir()
    tmp.mkdir()
    (cgroup / "cpu.max").write_text("100000 100000")
    environment = {"TMPDIR": str(tmp)} | {
        name: value.replace("/tmp/", f"{tmp}/")
        for name, value in read_image(dockerfile.steps("server")).environment.items()
        if name.startswith("CONVSCOPE_")
    }
    variables = [f"{name}={value}" for name, value in environment.items()]
    confined = ("unshare", "--mount", "sh", "-c", CONFINED, "sh", str(cgroup), str(tmp))
    command = (*confined, *variables, sys.executable, "-m", "convscope.server")
    deployment = next(one for one in overlays["volume"] if one["kind"] == "Deployment")
    flags = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    with (
        ServerProcess(
            tiny_repository, *flags, "--drain-seconds", "0.1", command=command, tuning=True
        ) as server,
        connected(server) as stub,
    ):
        stub.Classify(image_request())
        written = Path(f"/proc/{server.process.pid}/root{tmp}")
        assert {path.name for path in written.iterdir()} == {"tuning.json", "validated.json"}
    tuned = [event for event in server.log if event["event"] == "tuned"]
    # With a second core, one batch would run next to the event loop.
    assert [event["runners"] for event in tuned] == [0, 0]
    assert [event for event in server.log if event.get("level") in ("warning", "error")] == []


def test_everything_selects_the_pods(resources: dict[str, Resource]) -> None:
    (labels,) = [resources["Deployment"]["spec"]["template"]["metadata"]["labels"]]
    specs = {kind: resource.get("spec", {}) for kind, resource in resources.items()}
    assert specs["Service"]["selector"] == labels
    for kind, key in (
        *(("Deployment", "selector"), ("PodDisruptionBudget", "selector")),
        *(("NetworkPolicy", "podSelector"), ("PodMonitor", "selector")),
    ):
        assert specs[kind][key]["matchLabels"] == labels, kind
    assert specs["ScaledObject"]["scaleTargetRef"]["name"] == "convscope"
    assert "replicas" not in specs["Deployment"]  # the autoscaler sets it
    assert specs["Service"]["clusterIP"] == "None"
    (endpoint,) = specs["PodMonitor"]["podMetricsEndpoints"]
    assert endpoint["port"] == "metrics"


def test_autoscaling_asks_for_metrics_of_the_server(resources: dict[str, Resource]) -> None:
    queue, _cpu = resources["ScaledObject"]["spec"]["triggers"]
    query = queue["metadata"]["query"]
    histograms = {family.name for family in TABLE if family.kind == "histogram"}
    assert {re.sub("_(sum|count)$", "", name) for name in re.findall(r"convscope_\w+", query)} <= (
        histograms
    )
    assert set(re.findall(r'stage="(\w+)"', query)) <= set(STAGES)
    (namespace,) = set(re.findall(r'namespace="(\w+)"', query))
    assert namespace == resources["Deployment"]["metadata"]["namespace"]


def test_autoscaling_asks_for_the_mean_queue_time(
    overlays: dict[str, list[Resource]], prometheus_tools: Path, tmp_path: Path
) -> None:
    """Two pods answer 100 images a minute each, one after 30 ms in its queue, one after 10 ms."""
    scaled = next(one for one in overlays["volume"] if one["kind"] == "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    name, labels = "convscope_stage_seconds", 'namespace="convscope",stage="queue"'
    series = [
        {"series": f'{name}_{part}{{{labels},pod="{pod}"}}', "values": f"0+{step}x32 {32 * step}x9"}
        for pod, seconds in (("a", 0.75), ("b", 0.25))
        for part, step in (("sum", seconds), ("count", 25))
    ]
    # Without traffic, and without a pod, it is a number: the autoscaler sees no failure.
    expected = {"8m": 20, "10m": 0, "30m": 0}
    samples = [
        {"eval_time": time, "expr": query, "exp_samples": [{"labels": "{}", "value": value}]}
        for time, value in expected.items()
    ]
    tests = {"tests": [{"interval": "15s", "input_series": series, "promql_expr_test": samples}]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"evaluation_interval": "15s"} | tests))
    done = subprocess.run(
        [prometheus_tools / "promtool", "test", "rules", tmp_path / "tests.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_probes_of_the_page_are_those_of_the_pod(container: dict[str, Any], root: Path) -> None:
    page = (root / "docs/operations/kubernetes.md").read_text()
    shown = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    for name, probe in shown.items():
        assert json.dumps(probe, sort_keys=True) == json.dumps(container[name], sort_keys=True)
