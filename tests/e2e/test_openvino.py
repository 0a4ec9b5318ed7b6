"""The real server on OpenVINO in a separate environment, compared with the CPU provider."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
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
LITE0 = "efficientnet_lite0"


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


def on(python: Path, models: Path, *flags: str, tuning: bool = False) -> ServerProcess:
    command = (str(python), "-m", "convscope.server")
    return ServerProcess(models, *flags, command=command, tuning=tuning)


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


@pytest.mark.slow(seconds=10)
def test_the_precision_that_is_used_is_named_and_explanations_stay_exact(
    tmp_path: Path, demo_repository: Path, demo_server: ServerProcess, openvino: Path, coffee: Path
) -> None:
    file = tmp_path / "convscope.toml"
    bf16 = 'provider = ["openvino"]\nprecision = "bf16"\n'
    file.write_text(
        f'server.provider = "auto"\nserver.precision = "fp32"\n[models.{LITE0}]\n{bf16}'
    )
    flags = ("--runners", "1", "--threads", "1", "--max-batch", "4")
    cache = ("--tuning-cache", str(tmp_path / "tuning.json"))
    with (
        on(openvino, demo_repository, "--settings", str(file), *flags, *cache, tuning=True) as ours,
        Client(ours.target) as client,
        Client(demo_server.target) as on_cpu,
    ):
        if LITE0 not in {one.model for one in client.models()}:
            (rejected,) = (e for e in ours.log if e["event"] == "bundle rejected")
            assert "this processor doesn't support bf16" in rejected["message"]
            pytest.skip("this processor has no BF16")
        assert client.model(LITE0).compute_precision == "bf16"
        labels = {"provider": "openvino", "precision": "fp32", "compute_precision": "bf16"}
        assert sample(ours, "convscope_model_info", model=LITE0, **labels) == 1
        exact = on_cpu.classify(coffee, model=LITE0, top_k=1000)
        assert 1e-4 < difference(client.classify(coffee, model=LITE0, top_k=1000), exact) < 0.06
        # What shows the inside of a network is computed in FP32.
        for how in ({"feature_maps": ["blocks.2"]}, {"explain": 1}):
            found = client.classify(coffee, model=LITE0, top_k=1000, **how)
            assert difference(found, exact) < 1e-4

        digits = client.model("digits")
        (chosen,) = (e for e in ours.log if e["event"] == "provider chosen")
        best = digits.candidates[0]
        assert {one.provider for one in digits.candidates} == {"cpu", "openvino"}
        assert {one.compute_precision for one in digits.candidates} == {"fp32"}
        assert digits.provider == chosen["provider"] == best.provider
        speed = "convscope_provider_relative_speed"
        for one in digits.candidates:
            labels = {"provider": one.provider, "compute_precision": "fp32"}
            assert sample(ours, speed, model="digits", **labels) == pytest.approx(
                one.relative_speed, rel=1e-5
            )


@pytest.mark.slow(seconds=4)
def test_a_wrong_option_and_a_missing_precision_are_no_silent_fallback(
    tmp_path: Path, openvino: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A processor without BF16, for OpenVINO and the library that it uses.
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    models, file = tmp_path / "models", tmp_path / "convscope.toml"
    config = {
        "good": "",
        "bf16": 'precision = "bf16"\n',
        "threads": '[models.threads.providers.openvino]\nnum_of_threads = "many"\n',
        "unknown": load_config("unknown", {"NO_SUCH_OPTION": "1"}),
        "hint": load_config("hint", {"INFERENCE_PRECISION_HINT": "bf17"}),
        "wish": load_config("wish", {"INFERENCE_PRECISION_HINT": "bf16"}),
    }
    for name in config:
        write_tiny(models, name)
    text = "".join(f"[models.{name}]\n{table}" for name, table in config.items())
    file.write_text(f'server.provider = "openvino"\n{text}')
    with on(openvino, models, "--settings", str(file)) as server:
        with Client(server.target) as client:
            assert [(one.model, one.provider) for one in client.models()] == [("good", "openvino")]
        rejected = {e["model"]: e["message"] for e in server.log if e["event"] == "bundle rejected"}
    not_used = "openvino computes in fp32 here, although it was told to use bf16"
    assert not_used in rejected["bf16"]
    assert not_used in rejected["wish"]
    assert "doesn't start; check device_type and the other options" in rejected["threads"]
    assert "openvino can't run the graph" in rejected["unknown"]
    assert "bf17 is no precision; use f32, bf16 or f16" in rejected["hint"]


def load_config(model: str, of_cpu: Mapping[str, str]) -> str:
    """Return a model's settings of OpenVINO."""
    text = json.dumps({"CPU": of_cpu})
    return f"[models.{model}.providers.openvino]\nload_config = '{text}'\n"


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
