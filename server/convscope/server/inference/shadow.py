"""ShadowTraffic: versions that are given copies of requests, answer nobody, and are compared.

A copy runs only while cores are left over, after its request was answered, and
a bounded number of them wait. So a shadow, however slow, takes nothing from an
answer but the run that is under way when its request arrives.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from convscope.server.errors import OverloadedError, ServingError
from convscope.server.inference.engine import Engine
from convscope.server.inference.requests import (
    EncodedImage,
    InferenceRequest,
    InferenceResult,
    Input,
    ReadyTensor,
)
from convscope.server.observability.metrics import ShadowMetrics
from convscope.server.repository.catalog import Target
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["ShadowTraffic"]

log = structlog.get_logger(__name__)

# Copies that wait, and the bytes of their requests.
MAX_WAITING = 32
MAX_WAITING_BYTES = 64 * 2**20
# How often to look whether cores are left over, while copies wait.
PAUSE_SECONDS = 0.005
_QUESTION = InferenceRequest(bulk=True, aside=True)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A request that was answered, with no more of the answer than is compared.

    Args:
        key: The model and the version that answered.
        labels: The names of its classes.
        shadow: The number of the version to compare with.
        inputs: Those that were answered.
        probabilities: What was answered, one row an input.
        size: The bytes of all this, roughly.
        metrics: Hear what comes of it.
    """

    key: tuple[str, int]
    labels: Sequence[str]
    shadow: int
    inputs: Sequence[Input]
    probabilities: NDArray[np.float32]
    size: int
    metrics: ShadowMetrics


class ShadowTraffic:
    """Runs copies of requests on other versions, while nothing else needs the cores.

    Args:
        find: Finds a version, and loads it first if it sleeps.
        engine: Runs it.
        metrics: Gives the metrics of a version and its shadow.
        cores: Copies run while fewer requests than half of them are in flight,
            each on one runner, up to a quarter of them at a time.
    """

    def __init__(
        self,
        find: Callable[[Target], Awaitable[LoadedVersion]],
        engine: Engine,
        metrics: Callable[[LoadedVersion, int], ShadowMetrics],
        *,
        cores: int,
    ) -> None:
        self._find = find
        self._engine = engine
        self._metrics = metrics
        self._spare = max(1, cores // 2)
        self._runners = max(1, cores // 4)
        self._waiting: asyncio.Queue[_Copy] = asyncio.Queue(MAX_WAITING)
        self._waiting_bytes = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._told: set[tuple[str, int, int]] = set()

    def copy(
        self,
        version: LoadedVersion,
        shadow: int,
        inputs: Sequence[Input],
        answers: Sequence[InferenceResult | ServingError],
    ) -> None:
        """Have a request run on another version too, in its own time; returns at once.

        Args:
            version: Which version answered.
            shadow: The number of the other one.
            inputs: The request's.
            answers: What was answered, one an input.
        """
        pairs = [
            (item, answer)
            for item, answer in zip(inputs, answers, strict=True)
            if isinstance(answer, InferenceResult) and answer.probabilities.size
        ]
        if not pairs:
            return
        metrics = self._metrics(version, shadow)
        if self._waiting.full():
            metrics.count("dropped", len(pairs))
            return
        good = [item for item, _ in pairs]
        # Copied: a row is a view, which would keep all of its batch's outputs.
        probabilities = np.stack([answer.probabilities for _, answer in pairs])
        size = probabilities.nbytes + sum(map(_size, good))
        if self._waiting_bytes + size > MAX_WAITING_BYTES:
            metrics.count("dropped", len(good))
            return
        self._waiting_bytes += size
        self._waiting.put_nowait(
            _Copy(version.key, version.labels, shadow, good, probabilities, size, metrics)
        )
        if not self._tasks:
            # They outlive the request that starts them, and have no part in its trace.
            self._tasks = [
                asyncio.create_task(self._work(), context=Context()) for _ in range(self._runners)
            ]

    async def close(self) -> None:
        """Give up what waits and what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            copy = await self._waiting.get()
            while self._engine.in_flight >= self._spare:
                await asyncio.sleep(PAUSE_SECONDS)
            self._waiting_bytes -= copy.size
            try:
                await self._compare(copy)
            except OverloadedError:
                copy.metrics.count("dropped", len(copy.inputs))
            except Exception as error:  # noqa: BLE001 - nobody waits for it, and others follow
                copy.metrics.count("failed", len(copy.inputs))
                self._tell(copy, error)

    async def _compare(self, copy: _Copy) -> None:
        other = await self._find(Target(copy.key[0], copy.shadow))
        _check_fit(copy.inputs, other)
        found = await self._engine.run(other, copy.inputs, _QUESTION)
        for row, compared in zip(copy.probabilities, found, strict=True):
            if isinstance(compared, ServingError):
                copy.metrics.count("failed")
                self._tell(copy, compared)
            else:
                _compare(copy, row, compared, other.labels)

    def _tell(self, copy: _Copy, error: Exception) -> None:
        """Log a failure once for each pair of versions: the metric counts the rest."""
        key = (*copy.key, copy.shadow)
        if key in self._told:
            return
        self._told.add(key)
        model, number = copy.key
        reason = str(error) or type(error).__name__
        log.warning("shadow failed", model=model, version=number, shadow=copy.shadow, reason=reason)


def _size(item: Input) -> int:
    return len(item.data) if isinstance(item, EncodedImage) else item.array.nbytes


def _check_fit(inputs: Sequence[Input], other: LoadedVersion) -> None:
    for item in inputs:
        if isinstance(item, ReadyTensor) and item.array.shape != other.input_shape:
            raise ValueError(
                f"it takes {list(other.input_shape)}, and was given {list(item.array.shape)}"
            )


def _compare(
    copy: _Copy, row: NDArray[np.float32], compared: InferenceResult, labels: Sequence[str]
) -> None:
    """Compare two answers to one input: the best classes by their labels, then all classes."""
    agreed = copy.labels[int(row.argmax())] == labels[int(compared.probabilities.argmax())]
    copy.metrics.count("agreed" if agreed else "disagreed")
    if copy.labels == labels:
        copy.metrics.difference(float(np.abs(row - compared.probabilities).max()))
