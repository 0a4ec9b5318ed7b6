"""How a version is run: measured on this machine, or set."""

import json
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.calls import connected, image_request
from support.loading import LIMITS
from support.server import ServerProcess
from support.tiny import write_tiny
from support.wheels import GPU_WHEEL, OPENVINO_WHEEL, pretend

from convscope.server.frontend.classifier.rehearsal import rehearse
from convscope.server.inference.decoding.preprocessor import Preprocessor
from convscope.server.runtime import tuning
from convscope.server.runtime.execution import Execution, ExecutionOverrides
from convscope.server.runtime.loading import Loader
from convscope.server.runtime.measurement import BusyError
from convscope.server.runtime.providers import ProviderPolicies, ProviderPolicy
from convscope.server.runtime.tuning import Tuner
from convscope.v1 import inference_pb2 as pb

pytestmark = pytest.mark.one_transport("measures models")


def load(
    directory: Path,
    policy: ProviderPolicy,
    overrides: ExecutionOverrides,
    tuning_cache: Path | None = None,
) -> Execution:
    """Load a tiny bundle, and return how it is run."""
    loader = Loader(
        ProviderPolicies(policy),
        partial(Preprocessor, limits=LIMITS),
        Tuner(overrides, rehearse, tuning_cache),
    )
    bundle = directory / "tiny" / "1"
    if not bundle.exists():
        write_tiny(directory)
    return loader.load(bundle).execution


def execution(server: ServerProcess, model: str = "tiny") -> pb.Execution:
    with connected(server) as stub:
        assert stub.Classify(image_request(model=model), timeout=30).model == model
        return stub.GetModel(pb.GetModelRequest(model=model), timeout=30).execution


def test_what_is_not_set_is_measured_and_stored(tiny_repository: Path, tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "tuning.json"
    flags = ("--tuning-cache", str(cache))
    with ServerProcess(tiny_repository, *flags, tuning=True) as server:
        measured = execution(server)
        assert [line["model"] for line in server.log if line["event"] == "tuned"] == [
            "signal",
            "tiny",
        ]
    assert measured.max_batch >= 1
    assert "one call takes" in measured.reason
    assert len(json.loads(cache.read_text())) == 2
    with ServerProcess(tiny_repository, *flags, tuning=True) as server:
        assert execution(server) == measured
        assert not [line for line in server.log if line["event"] == "tuned"]


@pytest.mark.parametrize(
    "content",
    ["", "[1]", '{"key": {"runners": "many"}}', "\x00", "[" * 100_000],
    ids=str.split("empty list text zero deep"),
)
def test_a_damaged_cache_is_replaced_by_a_measurement(
    tiny_repository: Path, tmp_path: Path, content: str
) -> None:
    cache = tmp_path / "tuning.json"
    cache.write_text(content)
    with ServerProcess(tiny_repository, "--tuning-cache", str(cache), tuning=True) as server:
        assert execution(server).max_batch >= 1


def test_a_cache_that_cannot_be_written_does_not_matter(
    tiny_repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    flags = ("--tuning-cache", str(tmp_path / "file" / "tuning.json"))
    with ServerProcess(tiny_repository, *flags, tuning=True) as server:
        assert execution(server).max_batch >= 1


def test_flags_win_over_the_measurement(tiny_repository: Path, tmp_path: Path) -> None:
    flags = ("--max-batch", "3", "--runners", "2", "--tuning-cache", str(tmp_path / "t.json"))
    with ServerProcess(tiny_repository, *flags, tuning=True) as server:
        found = execution(server)
    assert (found.max_batch, found.runners) == (3, 2)


def test_all_set_or_switched_off_measures_nothing(tiny_repository: Path) -> None:
    flags = ("--max-batch", "3", "--runners", "2", "--threads", "1")
    with ServerProcess(tiny_repository, *flags, tuning=True) as server:
        found = execution(server)
        assert not [line for line in server.log if line["event"] == "tuned"]
    assert (found.runners, found.threads, found.lone_threads, found.max_batch) == (2, 1, 1, 3)
    assert found.reason == "set by flags"
    with ServerProcess(tiny_repository, "--no-tuning", tuning=True) as server:
        assert "measuring is off" in execution(server).reason


@pytest.mark.parametrize("measured", [True, False])
def test_a_gpu_runs_one_batch_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, measured: bool
) -> None:
    pretend(monkeypatch, GPU_WHEEL)
    overrides = ExecutionOverrides(cores=4, measure=measured)
    chosen = load(tmp_path, ProviderPolicy(["cuda"], False), overrides)
    assert (chosen.runners, chosen.threads, chosen.lone_threads) == (1, 1, 1)


def test_each_provider_and_its_options_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, OPENVINO_WHEEL)
    cache = tmp_path / "tuning.json"
    cpu, openvino = (ProviderPolicy([name], False) for name in ("cpu", "openvino"))
    policies = (cpu, openvino, openvino.with_options("openvino", {"precision": "FP32"}), cpu)
    for policy in policies:
        load(tmp_path, policy, ExecutionOverrides(cores=1), cache)
    assert len(json.loads(cache.read_text())) == 3


def test_busy_machine_is_reported_with_its_consequence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def measure_nothing(*_: object) -> Execution:
        raise BusyError("1 ms on one core and 9 ms on 2: other work occupies them")

    monkeypatch.setattr(tuning, "measure", measure_nothing)
    with capture_logs() as logs:
        chosen = load(tmp_path, ProviderPolicy(["cpu"], False), ExecutionOverrides(cores=2))
    warning = logs[0]
    assert warning["event"] == "not tuned"
    assert warning["message"] == (
        "the machine is busy, so tiny runs with default settings; restart the server when it is "
        "idle"
    )
    assert chosen.reason.startswith("defaults, because the machine was busy at the start: 1 ms on")
