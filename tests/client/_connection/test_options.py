"""Retries, timeouts, metadata and the default model of both clients."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.client import (
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    Retries,
    UnavailableError,
)

RED = np.full((8, 8, 3), (200, 30, 20), np.uint8)
EXHAUSTED, UNAVAILABLE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE

# Retries


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (Retries(attempts=4), 5)])
def test_the_number_of_retries(
    make_caller: Any, scripted_server: Any, retries: Any, attempts: int
) -> None:
    target, servicer = scripted_server(*[UNAVAILABLE] * attempts)
    with pytest.raises(UnavailableError):
        make_caller(target, retries=retries).classify(b"one", model="m")
    assert servicer.attempts == attempts
    servicer.codes = [EXHAUSTED] * (attempts - 1)
    assert make_caller(target, retries=retries).classify(b"two", model="m").top.label == "two"


def test_without_retries_a_part_of_a_request_is_not_retried_either(
    make_caller: Any, scripted_server: Any
) -> None:
    target, servicer = scripted_server()
    servicer.busy = {"b"}
    caller = make_caller(target, retries=0)
    found = list(caller.classify_many([b"a", b"b", b"c"], model="m", return_errors=True))
    assert isinstance(found[1], OverloadedError)
    assert servicer.sizes() == [3]


def test_the_pauses_grow_up_to_a_bound() -> None:
    policy = Retries(attempts=3, initial_seconds=0.05, max_seconds=2, multiplier=4).policy()
    assert policy["retryPolicy"] == {
        "maxAttempts": 4,
        "initialBackoff": "0.050000000s",
        "maxBackoff": "2.000000000s",
        "backoffMultiplier": 4,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    }


@pytest.mark.parametrize(
    "options",
    [
        {"retries": 5},
        {"retries": -1},
        {"retries": True},
        {"retries": "many"},
        {"connect_timeout_seconds": 0},
        {"connect_timeout_seconds": float("inf")},
        {"model": 7},
        {"metadata": {"grpc-status": "0"}},
    ],
)
def test_invalid_options_are_rejected_at_once(make_caller: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        make_caller("localhost:1", **options)


@pytest.mark.parametrize("name", ["initial_seconds", "max_seconds", "multiplier"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), "1", True])
def test_invalid_pauses_are_rejected(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name} is "):
        Retries(**{name: value})


# Timeouts


def test_connecting_has_a_timeout_of_its_own(make_caller: Any, silent_target: str) -> None:
    caller = make_caller(silent_target, timeout_seconds=60, connect_timeout_seconds=0.2, retries=0)
    with pytest.raises(UnavailableError, match=f"no server answers at {silent_target}"):
        caller.classify(RED, model="tiny")


# Metadata


def test_the_metadata_of_a_client_is_sent_and_that_of_a_call_replaces_it(
    make_caller: Any, tiny_repository: Path
) -> None:
    with ServerProcess(tiny_repository) as server:
        caller = make_caller(server.target, metadata={"X-Request-Id": "ours"})
        caller.classify(RED, model="tiny")
        caller.classify(RED, model="tiny", metadata={"x-request-id": "theirs"})
        list(caller.classify_many([RED], model="tiny"))
        server.stop()
        ids = [line["request_id"] for line in server.log if line.get("method") == "Classify"]
    assert ids == ["ours", "theirs", "ours"]


# The default model


def test_the_model_of_a_client(make_caller: Any, tiny_server: ServerProcess) -> None:
    caller = make_caller(tiny_server.target, model="tiny")
    assert caller.classify(RED).model == "tiny"
    assert [one.model for one in caller.classify_many([RED])] == ["tiny"]
    assert caller.model().model == "tiny"
    with pytest.raises(NotFoundError):
        caller.classify(RED, model="cat")


def test_the_only_model_of_a_server(make_caller: Any, tmp_path: Path) -> None:
    write_tiny(tmp_path, "lone", 1)
    write_tiny(tmp_path, "lone", 2)
    with ServerProcess(tmp_path) as server:
        for use in ("classify", "classify_many", "model"):
            caller = make_caller(server.target)
            if use == "classify_many":
                assert [one.model for one in caller.classify_many([RED, RED])] == ["lone"] * 2
            else:
                found = caller.model() if use == "model" else caller.classify(RED)
                assert found.model == "lone"


def test_without_a_model_the_models_of_a_server_are_named(
    make_caller: Any, tiny_server: ServerProcess
) -> None:
    caller = make_caller(tiny_server.target)
    expected = "no model is named, and the server has 2; give one with model: signal, tiny"
    with pytest.raises(InvalidInputError, match=expected):
        caller.classify(RED)
    with pytest.raises(InvalidInputError, match=expected):
        list(caller.classify_many([RED]))


def test_a_server_without_models(make_caller: Any, scripted_server: Any) -> None:
    target, _ = scripted_server()
    with pytest.raises(InvalidInputError, match="the server has none that is ready"):
        make_caller(target).classify(RED)
