"""With --provider auto, the fastest provider that passes the golden gate serves."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx
import pytest
from structlog.testing import capture_logs
from support.loading import LIMITS, VALIDATOR
from support.tiny import write_tiny
from support.wheels import CPU_WHEEL, GPU_WHEEL, OPENVINO_WHEEL, pretend

from convscope.server.errors import BundleRejectedError
from convscope.server.frontend.classifier.rehearsal import rehearse
from convscope.server.inference.decoding.preprocessor import Preprocessor
from convscope.server.runtime import selection
from convscope.server.runtime.choices import Choices
from convscope.server.runtime.execution import ExecutionOverrides
from convscope.server.runtime.golden import GoldenGate
from convscope.server.runtime.loading import Loader
from convscope.server.runtime.model import Model
from convscope.server.runtime.providers import ProviderPolicies, ProviderPolicy
from convscope.server.runtime.tuning import Tuner
from convscope.server.runtime.versions import Candidate, LoadedVersion

AUTO = ProviderPolicy(("auto",), allow_fallback=False)


def loader(cache: Path | None, policy: ProviderPolicy = AUTO) -> Loader:
    overrides = ExecutionOverrides(cores=1, runners=1, threads=1, max_batch=2)
    return Loader(
        ProviderPolicies(policy),
        partial(Preprocessor, limits=LIMITS),
        Tuner(overrides, rehearse, cache),
        validator=VALIDATOR,
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_tiny(tmp_path)
    return tmp_path / "tiny" / "1"


def measure_as(monkeypatch: pytest.MonkeyPatch, **speeds: float) -> list[list[str]]:
    """Let each provider have a speed; return the providers of each measurement."""
    measured: list[list[str]] = []

    def throughputs(versions: Sequence[LoadedVersion], _: object) -> list[float]:
        names = [version.model.provider for version in versions]
        measured.append(names)
        return [speeds[name] for name in names]

    monkeypatch.setattr(selection, "throughputs", throughputs)
    return measured


def fail_on_openvino(patch: pytest.MonkeyPatch) -> None:
    """Let the golden gate reject one provider."""
    check = GoldenGate.check

    def fail(gate: GoldenGate, model: Model, *, feature_maps: bool) -> None:
        if model.provider == "openvino":
            raise BundleRejectedError("golden", "no memory is left on the device")
        check(gate, model, feature_maps=feature_maps)

    patch.setattr(GoldenGate, "check", fail)


def test_what_is_tried() -> None:
    def tried(wheel: list[str], policy: ProviderPolicy = AUTO, **how: bool) -> list[str]:
        return [f"{p.wanted} {p.precision}" for p in policy.alternatives(wheel, **how)]

    openvino = ["openvino fp32", "openvino bf16", "openvino fp16"]
    assert tried(CPU_WHEEL) == ["cpu auto"]
    assert tried(GPU_WHEEL) == ["cpu auto", "cuda auto"]
    assert tried(OPENVINO_WHEEL) == ["cpu auto", *openvino]
    assert tried(OPENVINO_WHEEL, reduced=False) == ["cpu auto", "openvino fp32"]
    only = ProviderPolicy(("auto",), False, precision="bf16")
    assert tried(OPENVINO_WHEEL, only) == ["openvino bf16"]
    assert tried(CPU_WHEEL, only) == []
    exact = ProviderPolicy(("auto",), False, precision="fp32")
    assert tried(OPENVINO_WHEEL, exact) == ["cpu fp32", "openvino fp32"]
    own = AUTO.with_options("openvino", {"precision": "FP32"})
    assert tried(OPENVINO_WHEEL, own) == ["cpu auto", "openvino auto"]


def test_the_fastest_serves_and_the_choice_is_logged_and_remembered(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path
) -> None:
    pretend(monkeypatch, OPENVINO_WHEEL)
    measured, cache = measure_as(monkeypatch, cpu=10.0, openvino=25.0), tmp_path / "tuning.json"
    with capture_logs() as logs:
        version = loader(cache).load(bundle)
    assert (version.model.provider, version.model.fallback_from) == ("openvino", "")
    chosen, exact, *rejected = version.candidates
    assert chosen == Candidate("openvino", "fp32", 25.0, 2.5)
    assert exact == Candidate("cpu", "fp32", 10.0, 1.0)
    # The simulated OpenVINO computes in FP32 only, which doesn't pass for another precision.
    assert [one.precision for one in rejected] == ["bf16", "fp16"]
    assert all("openvino computes in fp32 here" in one.problem for one in rejected)
    (event,) = (line for line in logs if line["event"] == "provider chosen")
    assert (event["provider"], event["relative_speed"]) == ("openvino", 2.5)
    assert len(event["candidates"]) == 4
    assert len([line for line in logs if line["event"] == "provider rejected"]) == 2
    again = loader(cache).load(bundle)
    assert (again.model.provider, again.candidates) == ("openvino", version.candidates)
    assert measured == [["cpu", "openvino"]]
    content = json.loads(cache.read_text())
    cache.write_text(json.dumps({key: {"provider": 1} for key in content}))
    assert loader(cache).load(bundle).model.provider == "openvino"
    assert len(measured) == 2


def test_the_cpu_stays_unless_another_one_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    pretend(monkeypatch, OPENVINO_WHEEL)
    measure_as(monkeypatch, cpu=10.0, openvino=10.5)
    assert loader(None).load(bundle).model.provider == "cpu"


def test_while_the_server_serves_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    pretend(monkeypatch, OPENVINO_WHEEL)
    measured = measure_as(monkeypatch, cpu=10.0, openvino=25.0)
    first = loader(None)
    assert first.load(bundle, hot=True).model.provider == "cpu"
    assert first.load(bundle).model.provider == "openvino"
    assert first.load(bundle, hot=True).model.provider == "openvino"  # like the version before
    assert len(measured) == 1


@pytest.mark.parametrize("hot", [False, True])
def test_a_choice_that_fails_once_is_reported_and_kept(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path, hot: bool
) -> None:
    pretend(monkeypatch, OPENVINO_WHEEL)
    measured, cache = measure_as(monkeypatch, cpu=10.0, openvino=25.0), tmp_path / "tuning.json"
    assert loader(cache).load(bundle).model.provider == "openvino"
    with monkeypatch.context() as patch, capture_logs() as logs:
        fail_on_openvino(patch)
        version = loader(cache).load(bundle, hot=hot)
    assert (version.model.provider, version.model.fallback_from) == ("cpu", "openvino")
    assert all(one.provider == "cpu" or one.problem for one in version.candidates)
    (event,) = (line for line in logs if line["event"] == "chosen provider rejected")
    assert (event["log_level"], event["provider"]) == ("warning", "openvino")
    assert event["reason"] == "no memory is left on the device"
    assert [line["wanted"] for line in logs if line["event"] == "provider fallback"] == ["openvino"]
    again = loader(cache).load(bundle)
    assert (again.model.provider, again.model.fallback_from) == ("openvino", "")
    assert len(measured) == (1 if hot else 2)


def test_no_provider_for_a_precision_is_rejected(bundle: Path) -> None:
    policy = ProviderPolicy(("auto",), False, precision="bf16")
    with pytest.raises(BundleRejectedError, match="no provider that is available here can be told"):
        loader(None, policy).load(bundle)


def rename(graph: onnx.ModelProto) -> None:
    graph.graph.name = "another graph"


def joining(first: Loader) -> Loader:
    """A worker that starts with the choices of another one, and stores none."""
    shared = json.loads(json.dumps(first.choices.take_unreported()))
    return replace(loader(None), choices=Choices(shared))


def test_other_workers_repeat_the_choices_of_the_first_one(
    monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    pretend(monkeypatch, OPENVINO_WHEEL)
    measure_as(monkeypatch, cpu=10.0, openvino=25.0)
    first = loader(None)  # nothing is stored, as with a tuning cache that can't be written
    chosen = first.load(bundle)
    measured = measure_as(monkeypatch, cpu=25.0, openvino=10.0)  # it would choose something else
    second = joining(first)
    version = second.load(bundle)
    assert (version.model.provider, version.candidates) == ("openvino", chosen.candidates)
    later = write_tiny(bundle.parents[1], version=2, alter_graph=rename)
    # A worker that starts later must not measure a version that the others load while they serve.
    for worker, hot in ((first, True), (second, False)):
        assert worker.load(later, hot=hot).model.provider == "openvino"
    assert measured == []
    assert len(first.choices.take_unreported()) == 1  # for workers that start even later


def test_workers_share_a_choice_that_replaces_one_that_fails(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path
) -> None:
    pretend(monkeypatch, OPENVINO_WHEEL)
    measured, cache = measure_as(monkeypatch, cpu=10.0, openvino=25.0), tmp_path / "tuning.json"
    assert loader(cache).load(bundle).model.provider == "openvino"
    with monkeypatch.context() as patch:
        fail_on_openvino(patch)
        first = loader(cache)
        assert first.load(bundle).model.provider == "cpu"
    # The device has room again, and the file still says that openvino is the fastest.
    assert joining(first).load(bundle).model.provider == "cpu"
    assert len(measured) == 2
