"""Deadlines of requests that arrive together."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.requests import make_request

from convscope.server.errors import DeadlineError
from convscope.server.inference.admission import DeadlineAdmission
from convscope.server.inference.requests import InferenceRequest, ReadyTensor

TENSOR = ReadyTensor(np.zeros(3, np.uint8))


def admission() -> DeadlineAdmission:
    """The admission before an idle batcher, which takes a second for each input."""
    batcher: Any = SimpleNamespace(waiting=0, seconds_until_done=lambda size, bulk: float(size))
    return DeadlineAdmission(batcher, None)


def request(seconds: float | None, inputs: int = 1, *, bulk: bool = False) -> InferenceRequest:
    deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
    return make_request(*[TENSOR] * inputs, deadline=deadline, bulk=bulk)


async def test_first_request_of_an_idle_pipeline_always_runs() -> None:
    admission().admit(request(0.001, 10), ())


async def test_requests_wait_for_the_earlier_ones_of_their_group() -> None:
    group = admission()
    group.admit(request(None, 10), ())
    group.admit(request(20), ())
    with pytest.raises(DeadlineError, match=r"a result takes about 12\.000 s now"):
        group.admit(request(5), ())
    group.begin_group()
    group.admit(request(5), ())


async def test_interactive_requests_do_not_wait_for_bulk_requests_of_their_group() -> None:
    group = admission()
    group.admit(request(None, 10, bulk=True), ())
    group.admit(request(5), ())
    with pytest.raises(DeadlineError, match=r"takes about 12\.000 s"):
        group.admit(request(5, bulk=True), ())


async def test_latency_is_learned_from_answered_and_late_requests_only() -> None:
    group = admission()
    answered = request(60)
    group.admit(answered, ())
    rejected = request(60)
    group.admit(rejected, ())
    rejected.error = ValueError("no result")
    group.learn(rejected)
    before = group._latency[False].correct(1.0)
    answered.results = ["a result"]  # type: ignore[list-item]
    group.learn(answered)  # much faster than estimated
    assert group._latency[False].correct(1.0) < before == 1.0
