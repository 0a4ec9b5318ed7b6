"""objectives.toml: it fits the metrics of a real server, and what it promises can be watched."""

import re
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from support.server import ServerProcess

from deploy.monitoring.objectives import PATH, Objectives, ObjectivesError, window_seconds
from deploy.traffic import send_traffic

# What the server answers to a mistake of the caller, or to one that has gone.
CALLERS_MISTAKES = {"Canceled", "InvalidArgument", "NotFound", "Unimplemented"}
# A version that its operator must mend; ConvscopeModelLoadFailed tells of it.
REFUSED_BUNDLES = {"FailedPrecondition"}


@pytest.fixture(scope="module")
def samples(tiny_server: ServerProcess) -> list[Sample]:
    """What a server shows after some traffic."""
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
    assert failures | CALLERS_MISTAKES | REFUSED_BUNDLES | {"OK"} == codes
    assert not failures & (CALLERS_MISTAKES | REFUSED_BUNDLES)


def test_one_failed_call_alone_tells_nobody(objectives: Objectives) -> None:
    for window in objectives.burn:
        calls = objectives.guard.min_calls_per_second * window_seconds(window.long)
        assert 1 / calls < window.factor * objectives.availability.budget, window


def test_whoever_is_told_has_time_before_the_budget_is_gone(objectives: Objectives) -> None:
    """The faster it burns, the shorter the window that has to show it."""
    factors = [w.factor for w in sorted(objectives.burn, key=lambda w: window_seconds(w.long))]
    assert factors == sorted(factors, reverse=True)
    period = objectives.period_days * 86400
    for window in objectives.burn:
        assert window_seconds(window.long) * window.factor < 0.25 * period, window


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("target = 0.999", "target = 99.9", "99.9 is no share; it must lie between 0 and 1"),
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
def test_what_cannot_be_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = PATH.read_text()
    assert old in text
    path = tmp_path / "objectives.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ObjectivesError, match=re.escape(message)):
        Objectives.read(path)
