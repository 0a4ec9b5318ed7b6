"""The real server on OpenVINO in a separate environment, compared with the CPU provider."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from support.calls import LOOPBACK, health, run_to_end, sample
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.client import Classification, Client

pytestmark = pytest.mark.one_transport("checks an execution provider")

ROOT = Path(__file__).resolve().parents[2]
# The tolerance of the golden gate for an FP32 bundle.
TOLERANCE = 0.03


@pytest.fixture(scope="module")
def openvino() -> Path:
    """The Python of an environment with convscope[server-openvino]."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "openvino.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes may need it too
        done = subprocess.run(
            [ROOT / "scripts" / "openvino.sh"],
            env={**os.environ, "PYTHON": sys.executable},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def server(demo_repository: Path, openvino: Path) -> Iterator[ServerProcess]:
    """A server of the demo's bundles on OpenVINO."""
    with on(openvino, demo_repository, "--provider", "openvino") as server:
        yield server


def on(python: Path, models: Path, *flags: str) -> ServerProcess:
    return ServerProcess(models, *flags, command=(str(python), "-m", "convscope.server"))


def hand_to_cpu(graph: onnx.ModelProto) -> None:
    """Add an operator that OpenVINO lacks, without a change of the results."""
    graph.graph.node[-2].input[0] = "same"  # the input of the last product, formerly "flat"
    between = [
        helper.make_node("Hardmax", ["flat"], ["largest"]),
        helper.make_node("ReduceSum", ["largest", "axis"], ["one"]),
        helper.make_node("Mul", ["flat", "one"], ["same"]),
    ]
    softmax = graph.graph.node.pop()
    matmul = graph.graph.node.pop()
    graph.graph.node.extend([*between, matmul, softmax])
    graph.graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [1], [1]))


@pytest.mark.slow
def test_the_gates_pass_and_the_provider_is_reported(server: ServerProcess) -> None:
    assert health(server) == "SERVING"
    with Client(server.target) as client:
        listed = {one.model: (one.provider, one.fallback_from) for one in client.models()}
    assert listed == {"digits": ("openvino", ""), "efficientnet_lite0": ("openvino", "")}
    for model in listed:
        assert sample(server, "convscope_model_info", model=model, provider="openvino") == 1
    ready = {e["model"]: e["nodes"] for e in server.log if e["event"] == "model ready"}
    assert all(set(nodes) == {"openvino"} for nodes in ready.values())


@pytest.mark.slow
def test_its_results_equal_those_of_the_cpu_provider(
    server: ServerProcess,
    demo_server: ServerProcess,
    coffee: Path,
    digits: list[Path],
) -> None:
    asked = [(coffee, "efficientnet_lite0"), *((digit, "digits") for digit in digits)]
    with Client(server.target) as ours, Client(demo_server.target) as theirs:
        for image, model in asked:
            one, other = (c.classify(image, model=model, top_k=1000) for c in (ours, theirs))
            assert (one.provider, other.provider) == ("openvino", "cpu")
            assert one.top.label == other.top.label
            assert difference(one, other) <= TOLERANCE
        name = "blocks.2"
        maps = [
            client.classify(coffee, model="efficientnet_lite0", feature_maps=[name])
            .feature_maps[name]
            .array
            for client in (ours, theirs)
        ]
    assert abs(maps[0] - maps[1]).max() <= TOLERANCE * abs(maps[1]).max()


def difference(one: Classification, other: Classification) -> float:
    """Return the largest difference of a probability."""
    found = {c.index: c.probability for c in one.classes}
    return max(abs(found[c.index] - c.probability) for c in other.classes)


@pytest.mark.slow
def test_a_node_that_it_leaves_to_the_cpu_is_rejected_or_reported(
    tmp_path: Path, openvino: Path
) -> None:
    models = tmp_path / "models"
    write_tiny(models, "good")
    for name in ("strict", "loose"):
        write_tiny(models, name, alter_graph=hand_to_cpu)
    file = tmp_path / "convscope.toml"
    file.write_text(
        'server.provider = "openvino"\n[models.loose]\nallow_fallback = true\n'
        "[models.loose.providers.openvino]\nnum_of_threads = 1\nnum_streams = 1\n"
    )
    with on(openvino, models, "--settings", str(file)) as server:
        (rejected,) = (e for e in server.log if e["event"] == "bundle rejected")
        assert rejected["model"] == "strict"
        assert "openvino leaves 1 of 12 nodes to the CPU (Hardmax)" in rejected["message"]
        with Client(server.target) as client:
            listed = {one.model: (one.provider, one.fallback_from) for one in client.models()}
        assert listed == {"good": ("openvino", ""), "loose": ("openvino+cpu", "openvino")}
        labels = {"wanted": "openvino", "provider": "openvino+cpu"}
        assert sample(server, "convscope_provider_fallback", model="loose", **labels) == 1
        assert sample(server, "convscope_provider_fallback", model="good") == 0


@pytest.mark.slow
def test_a_missing_device_is_rejected(
    tiny_repository: Path, tmp_path: Path, openvino: Path
) -> None:
    file = tmp_path / "convscope.toml"
    file.write_text('[server]\nprovider = "openvino"\n[providers.openvino]\ndevice_type = "NPU"\n')
    flags = ("--models", tiny_repository, "--settings", file, *LOOPBACK)
    command: list[str | Path] = [openvino, "-m", "convscope.server", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "has the execution provider 'openvino', but it doesn't start; check dev" in done.stderr


def test_the_cpu_wheel_rejects_it_with_the_fix(tiny_repository: Path) -> None:
    flags = ("--provider", "openvino", *LOOPBACK)
    code, _, error = run_to_end("--models", tiny_repository, *flags)
    assert code == 1
    assert "'openvino' is not available here, only: " in error
    assert "pip install '.[server-openvino]', in an environment without onnxruntime" in error
