"""Shadows: versions that are given copies of requests, answer nobody, and are compared.

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

from convscope.server.engine import Engine
from convscope.server.errors import ServingError
from convscope.server.metrics import ShadowMetrics
from convscope.server.repository.catalog import Target
from convscope.server.repository.versions import LoadedVersion
from convscope.server.work import Answer, Input, Question, ReadyTensor

__all__ = ["Shadows"]

log = structlog.get_logger(__name__)

# Copies that wait; each holds the bytes of its request.
MAX_WAITING = 32
# How often to look whether cores are left over, while copies wait.
PAUSE_SECONDS = 0.005
_QUESTION = Question(bulk=True)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A request that was answered.

    Args:
        version: Which version answered.
        shadow: The number of the version to compare with.
        inputs: Those that were answered.
        answers: What was answered, one an input.
        metrics: Hear what comes of it.
    """

    version: LoadedVersion
    shadow: int
    inputs: Sequence[Input]
    answers: Sequence[Answer]
    metrics: ShadowMetrics


class Shadows:
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
        self._tasks: list[asyncio.Task[None]] = []
        self._told: set[tuple[str, int, int]] = set()

    def copy(
        self,
        version: LoadedVersion,
        shadow: int,
        inputs: Sequence[Input],
        answers: Sequence[Answer | ServingError],
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
            if isinstance(answer, Answer) and answer.probabilities.size
        ]
        if not pairs:
            return
        metrics = self._metrics(version, shadow)
        if self._waiting.full():
            metrics.count("dropped", len(pairs))
            return
        good_inputs, good_answers = zip(*pairs, strict=True)
        self._waiting.put_nowait(_Copy(version, shadow, good_inputs, good_answers, metrics))
        if not self._tasks:
            # In a context of their own: they are no part of the call that happens to be the first.
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
            try:
                await self._compare(copy)
            except Exception as error:  # noqa: BLE001 - nobody waits for it, and others follow
                copy.metrics.count("failed", len(copy.inputs))
                self._tell(copy, error)

    async def _compare(self, copy: _Copy) -> None:
        other = await self._find(Target(copy.version.key[0], copy.shadow))
        _check_fit(copy.inputs, other)
        found = await self._engine.run_aside(other, copy.inputs, _QUESTION)
        for answer, compared in zip(copy.answers, found, strict=True):
            if isinstance(compared, ServingError):
                copy.metrics.count("failed")
                self._tell(copy, compared)
            else:
                _compare(answer, copy.version, compared, other, copy.metrics)

    def _tell(self, copy: _Copy, error: Exception) -> None:
        """Log a failure once for each pair of versions: the metric counts the rest."""
        key = (*copy.version.key, copy.shadow)
        if key in self._told:
            return
        self._told.add(key)
        model, number = copy.version.key
        reason = str(error) or type(error).__name__
        log.warning("shadow failed", model=model, version=number, shadow=copy.shadow, reason=reason)


def _check_fit(inputs: Sequence[Input], other: LoadedVersion) -> None:
    for item in inputs:
        if isinstance(item, ReadyTensor) and item.array.shape != other.input_shape:
            raise ValueError(
                f"it takes {list(other.input_shape)}, and was given {list(item.array.shape)}"
            )


def _compare(
    answer: Answer,
    version: LoadedVersion,
    compared: Answer,
    other: LoadedVersion,
    metrics: ShadowMetrics,
) -> None:
    """Compare two answers to one input: the best classes by their labels, then all classes."""
    best = version.labels[int(answer.probabilities.argmax())]
    agreed = best == other.labels[int(compared.probabilities.argmax())]
    metrics.count("agreed" if agreed else "disagreed")
    if version.labels == other.labels:
        metrics.difference(float(np.abs(answer.probabilities - compared.probabilities).max()))
