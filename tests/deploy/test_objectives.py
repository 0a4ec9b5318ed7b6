"""objectives.toml fits the metrics of a real server, and its alerts leave time to react."""

import re
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from support.server import ServerProcess

from deploy.monitoring.objectives import PATH, Objectives, ObjectivesError, window_seconds
from deploy.traffic import send_traffic

# Codes for mistakes of the caller, or for a caller that has gone.
CALLERS_MISTAKES = {"Canceled", "InvalidArgument", "NotFound", "Unimplemented"}
# A version that its operator must fix; ConvscopeModelLoadFailed reports it.
REJECTED_BUNDLES = {"FailedPrecondition"}


@pytest.fixture(scope="module")
def samples(tiny_server: ServerProcess) -> list[Sample]:
    """The metrics of a server after some traffic."""
    with grpc.insecure_channel(tiny_server.target) as channel:
        send_traffic(channel)
    families = text_string_to_metric_families(tiny_server.metrics())
    return [sample for family in families for sample in family.samples]


def test_the_threshold_is_a_bucket_of_the_latency(
    objectives: Objectives, samples: list[Sample]
) -> None:
    name = "convscope_request_seconds_bucket"
    bounds = {sample.labels["le"] for sample in samples if sample.name == name}
    assert f"{objectives.latency.threshold_seconds:.6g}" in bounds


def test_every_code_of_the_server_is_either_a_failure_or_not(
    objectives: Objectives, samples: list[Sample]
) -> None:
    name = "grpc_server_handled_total"
    codes = {sample.labels["grpc_code"] for sample in samples if sample.name == name}
    failures = set(objectives.availability.failures)
    assert failures | CALLERS_MISTAKES | REJECTED_BUNDLES | {"OK"} == codes
    assert not failures & (CALLERS_MISTAKES | REJECTED_BUNDLES)


def test_a_single_failed_call_raises_no_alert(objectives: Objectives) -> None:
    for window in objectives.burn:
        calls = objectives.guard.min_calls_per_second * window_seconds(window.long)
        assert 1 / calls < window.factor * objectives.availability.budget, window


def test_an_alert_leaves_time_before_the_budget_is_used_up(objectives: Objectives) -> None:
    """A faster burn rate has a shorter window."""
    factors = [w.factor for w in sorted(objectives.burn, key=lambda w: window_seconds(w.long))]
    assert factors == sorted(factors, reverse=True)
    period = objectives.period_days * 86400
    for window in objectives.burn:
        assert window_seconds(window.long) * window.factor < 0.25 * period, window


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("target = 0.999", "target = 99.9", "99.9 is not a share; it must be between 0 and 1"),
        ("target = 0.999", "", "missing 1 required positional argument: 'target'"),
        ("near_bound = 0.8", "near_bound = 0.8\nfar = 1", "unexpected keyword argument 'far'"),
        ("period_days = 30", "period_days = 30\nage = 1", "unexpected keyword argument 'age'"),
        ("[queue]", "[queues]", "objectives.toml lacks the table 'queue'"),
        (
            'short = "5m"',
            'short = "5"',
            "the window '5' isn't a number followed by m, h or d",
        ),
        ('short = "5m"', 'short = "2h"', "the short window 2h isn't shorter than 1h"),
        ('"page"', '"call"', "severity 'call' is neither 'page' nor 'ticket'"),
    ],
    ids=range(8),
)
def test_an_invalid_file_is_rejected_with_the_reason(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = PATH.read_text()
    assert old in text
    path = tmp_path / "objectives.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ObjectivesError, match=re.escape(message)):
        Objectives.read(path)
