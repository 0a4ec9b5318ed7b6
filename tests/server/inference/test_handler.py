"""How requests are counted by their end."""

import asyncio
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from support.loading import load

from convscope.server.errors import InvalidInputError, OverloadedError
from convscope.server.inference.engine import Engine
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.observability.calls import CallRecord, current_call
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Target
from convscope.server.repository.manager import ModelManager
from convscope.server.runtime.versions import LoadedVersion


@pytest.mark.parametrize(
    ("error", "seconds_left", "code"),
    [
        (None, 60, "OK"),
        (OverloadedError("full"), 60, "RESOURCE_EXHAUSTED"),
        (ValueError("unexpected"), 60, "INTERNAL"),
        (asyncio.CancelledError(), None, "CANCELLED"),
        (asyncio.CancelledError(), 60, "CANCELLED"),
        (asyncio.CancelledError(), -1, "DEADLINE_EXCEEDED"),
        # The caller's clock is a little ahead of ours.
        (asyncio.CancelledError(), 0.005, "DEADLINE_EXCEEDED"),
    ],
)
async def test_request_is_counted_once_by_its_end(
    root: Path, error: BaseException | None, seconds_left: float | None, code: str
) -> None:
    catalog = await asyncio.to_thread(load, root)
    metrics = Metrics()
    handler = InferenceHandler(
        cast("ModelManager[LoadedVersion]", SimpleNamespace(catalog=catalog)),
        Engine(PipelineLimits(1, 0.0, 1), metrics.of),
        metrics,
        max_inputs=2,
        cores=1,
    )
    current_call.set(CallRecord("test"))
    deadline = None if seconds_left is None else asyncio.get_running_loop().time() + seconds_left
    version = catalog.resolve(Target("good"))
    with (
        suppress(OverloadedError, ValueError, asyncio.CancelledError),
        handler.counted(version, deadline, bulk=False),
    ):
        if error is not None:
            raise error
    counts = {
        sample.labels["code"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "convscope_requests_total" and sample.value
    }
    assert counts == {code: 1}


@pytest.mark.parametrize(("inputs", "message"), [(0, "has no inputs"), (3, "has 3 inputs")])
async def test_number_of_inputs_is_limited(inputs: int, message: str) -> None:
    metrics = Metrics()
    handler = InferenceHandler(
        cast("ModelManager[LoadedVersion]", SimpleNamespace(catalog=None)),
        Engine(PipelineLimits(1, 0.0, 1), metrics.of),
        metrics,
        max_inputs=2,
        cores=1,
    )
    current_call.set(CallRecord("test"))
    handler.admit(2)
    with pytest.raises(InvalidInputError, match=message):
        handler.admit(inputs)
