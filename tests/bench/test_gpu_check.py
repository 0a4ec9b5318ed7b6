"""scripts/gpu_check.py on the CPU: what its document says, not how fast the machine is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.alterations import flip_byte
from support.tiny import write_extractor, write_signal, write_tiny

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "gpu_check.py"
# The sections take as long as the machine needs; this only keeps a busy one from skipping some.
SECONDS = 900


def check(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    write_tiny(root)
    write_signal(root)
    write_extractor(root, "bank")
    return root


@pytest.mark.slow(seconds=70)
@pytest.mark.timeout(SECONDS)
def test_the_cpu_passes_every_section(models: Path, tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    done = check(
        *("--provider", "cpu", "--models", models, "--seconds", SECONDS, "--window", 0.05),
        *("--output", output),
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert json.loads(output.read_text()) == document
    sections = document["sections"]
    status = {name: section["status"] for name, section in sections.items()}
    assert status.pop("tensorrt") == "skipped"
    assert sections["tensorrt"]["reason"] == "cpu does not use a GPU"
    assert status.pop("workers") in {"passed", "skipped"}  # it depends on the number of cores
    assert set(status.values()) == {"passed"}, status
    results = {name: section["results"] for name, section in sections.items()}
    check_environment(results["environment"])
    check_bundles(results)
    check_speeds(results)
    assert results["feature_maps"]["models"]["tiny"]["largest_relative_difference"] == {"conv": 0}
    swaps = results["swaps"]
    assert (swaps["seen"], len(swaps["swap_seconds"])) == (20, 20)
    assert swaps["calls"] > 0
    assert swaps["memory_after"]["server_mb"] > swaps["memory_before"]["server_mb"] / 2
    half = results["half_precision"]["models"]["tiny"]["parity"]
    assert 0 < half["largest"] < 0.01
    assert half["same_top_class"] == 1
    assert results["training"]["precisions"]["bf16-mixed"]["top1_accuracy"] > 0.7


def check_environment(environment: dict[str, Any]) -> None:
    assert environment["machine"]["cores"] >= 1
    assert "CPUExecutionProvider" in environment["onnxruntime"]["available_providers"]
    assert environment["packages"]["onnxruntime"] == environment["onnxruntime"]["version"]


def check_bundles(results: dict[str, Any]) -> None:
    names = {"tiny", "signal", "bank"}
    assert results["bundles"]["bundles"] == dict.fromkeys(sorted(names), "from --models")
    assert set(results["gates"]["passed"]) == names
    for name in names:
        assert set(results["gates"]["nodes_with_fallback"][name]) == {"cpu"}
        assert results["gates"]["bundles"][name]["ready"]["provider"] == "cpu"
        parity = results["parity"]["bundles"][name]["default"]
        assert (parity["finite"], parity["largest"]) == (True, 0)


def check_speeds(results: dict[str, Any]) -> None:
    rows = results["in_process"]["models"]["tiny"]
    assert [row["batch"] for row in rows] == [1, 2, 4, 8, 16, 32, 64]
    assert all(row["images_per_second"] > 0 for row in rows)
    single, *served = results["served"]["models"]["tiny"]["rows"]
    assert (single["input"], single["calls_in_flight"]) == ("tensor", 1)
    sizes = [(row["images_per_call"], row["input"]) for row in served]
    assert sizes == [(2**n, kind) for n in range(7) for kind in ("tensor", "jpeg")]
    assert all("too_slow" in row or row["images_per_second"] > 0 for row in served)


@pytest.mark.slow(seconds=10)
def test_a_damaged_bundle_fails_its_gate_and_not_the_rest(models: Path) -> None:
    flip_byte(write_tiny(models, "broken") / "model.onnx", 50)
    done = check("--provider", "cpu", "--models", models, "--only", "gates,parity")
    assert done.returncode == 1
    sections = json.loads(done.stdout)["sections"]
    assert list(sections) == ["bundles", "gates", "parity"]
    gates = sections["gates"]
    assert gates["status"] == "failed"
    assert gates["reason"].startswith("broken is not served by cpu; ")
    assert gates["results"]["bundles"]["broken"]["rejected"]["reason"] == "hash"
    assert gates["results"]["passed"] == ["bank", "signal", "tiny"]
    parity = sections["parity"]
    assert set(parity["results"]["bundles"]) == {"bank", "signal", "tiny"}
    assert parity["reason"].startswith("broken: BundleRejectedError: the SHA-256 of model.onnx is ")
    assert "failed: gates, parity" in done.stderr


@pytest.mark.slow(seconds=10)
def test_a_provider_that_is_missing_is_named_in_each_section_that_needs_it(models: Path) -> None:
    done = check("--provider", "openvino", "--models", models, "--only", "environment,gates,parity")
    assert done.returncode == 1
    sections = json.loads(done.stdout)["sections"]
    for name, reason in {
        "environment": "this ONNX Runtime was built without openvino",
        "gates": "'openvino' is not available here",
        "parity": "tiny (default): the execution provider 'openvino' is not available here",
    }.items():
        assert sections[name]["status"] == "failed"
        assert reason in sections[name]["reason"]
    assert sections["bundles"]["status"] == "passed"


def test_sections_without_time_are_skipped_with_a_reason(models: Path) -> None:
    done = check("--provider", "cpu", "--models", models, "--seconds", 2, "--only", "served")
    assert done.returncode == 0
    for section in json.loads(done.stdout)["sections"].values():
        assert section == {"status": "skipped", "reason": "the 2 s are used up"}


def test_an_unknown_section_is_an_error() -> None:
    done = check("--only", "gates,sawps")
    assert done.returncode == 2
    assert "no section 'sawps'; the sections are environment, bundles, gates" in done.stderr
