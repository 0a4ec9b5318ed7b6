"""Runs copies of requests on shadow versions, and compares the results.

A copy runs after its request has its reply, and only while cores are free. The
number of waiting copies is bounded. So a shadow, however slow, delays a request
at most by the run that is in progress when the request arrives.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from time import monotonic

import numpy as np
import structlog
from numpy.typing import NDArray

from convscope.bundle.clear_results import CLEAR_MARGIN, margins, named_classes
from convscope.server.errors import OverloadedError, ServingError
from convscope.server.inference.engine import Engine
from convscope.server.inference.requests import (
    EncodedImage,
    InferenceRequest,
    InferenceResult,
    Input,
    ReadyTensor,
)
from convscope.server.observability.calls import CallRecord
from convscope.server.observability.metrics import ShadowMetrics
from convscope.server.repository.catalog import Target
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["ShadowTraffic"]

log = structlog.get_logger(__name__)

# Copies that may wait, and the bytes of their requests.
MAX_WAITING = 32
MAX_WAITING_BYTES = 64 * 2**20
# How often to check for free cores while copies wait.
PAUSE_SECONDS = 0.005
# At most so often, a disagreement of a shadow is logged: clear ones, and the others.
DISAGREEMENT_SECONDS = 1.0
# At most so often, a failure of a shadow is logged.
FAILURE_SECONDS = 3600.0


class _Pauses:
    """Lets something happen at most once in some seconds, separately for each key.

    Args:
        seconds: The pause. A key is forgotten after it, so that keys don't add up for ever.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: dict[Hashable, float] = {}

    def is_over(self, key: Hashable) -> bool:
        """Return whether the pause of a key is over; another one then begins."""
        now = monotonic()
        self._last = {k: at for k, at in self._last.items() if now - at < self._seconds}
        if key in self._last:
            return False
        self._last[key] = now
        return True


class _NoReply:
    """The endpoint of copies: nobody receives a reply."""

    def prepare(self, request: InferenceRequest) -> None:
        """Do nothing: the inputs are set."""

    def encode(self, request: InferenceRequest) -> bytes:
        """Return an empty reply."""
        return b""


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy of a request, with only as much of its results as is compared.

    Args:
        request_id: The id of the request's call.
        key: The model and the version that ran the request.
        labels: The names of its classes.
        independent: Whether each of them has a probability of its own.
        shadow: The number of the version to compare with.
        inputs: The inputs that have a result.
        probabilities: Their results, one row per input.
        infer_seconds: How long the run of each input took.
        size: The approximate bytes of all this.
        metrics: Counts the outcome.
    """

    request_id: str
    key: tuple[str, int]
    labels: Sequence[str]
    independent: bool
    shadow: int
    inputs: Sequence[Input]
    probabilities: NDArray[np.float32]
    infer_seconds: Sequence[float]
    size: int
    metrics: ShadowMetrics


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The classes that both results of one input name: the best one, or all that are probable.

    Args:
        answer: By label, the probability of each class that the answer names.
        shadow: By label, the probability of each class that the shadow names.
        margin: How clear the answer is.
    """

    answer: Mapping[str, float]
    shadow: Mapping[str, float]
    margin: float

    @property
    def agreed(self) -> bool:
        """Whether both name the same classes."""
        return self.answer.keys() == self.shadow.keys()

    @property
    def clear(self) -> bool:
        """Whether the answer is clear."""
        return self.margin >= CLEAR_MARGIN


class ShadowTraffic:
    """Runs copies of requests on other versions while nothing else needs the cores.

    Args:
        find: Finds a version, and loads it first if it is unloaded.
        engine: Runs it.
        metrics: Returns the metrics of a version and its shadow.
        cores: The number of cores. Copies run while the requests in flight are
            fewer than half of it, and at most a quarter of it at a time.
    """

    def __init__(
        self,
        find: Callable[[Target], Awaitable[LoadedVersion]],
        engine: Engine,
        metrics: Callable[[tuple[str, int], int], ShadowMetrics],
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
        self._disagreements = _Pauses(DISAGREEMENT_SECONDS)
        self._failures = _Pauses(FAILURE_SECONDS)

    def copy(
        self,
        version: LoadedVersion,
        shadow: int,
        inputs: Sequence[Input | ServingError],
        results: Sequence[InferenceResult | ServingError],
        request_id: str,
    ) -> None:
        """Queue a copy of a request for another version; returns immediately.

        Args:
            version: The version that ran the request.
            shadow: The number of the other version.
            inputs: The request's inputs.
            results: The result of each input.
            request_id: The id of the request's call, which disagreements are logged with.
        """
        pairs = [
            (item, result)
            for item, result in zip(inputs, results, strict=True)
            if isinstance(result, InferenceResult)
            and not isinstance(item, ServingError)
            and result.probabilities.size
        ]
        if not pairs:
            return
        metrics = self._metrics(version.key, shadow)
        if self._waiting.full():
            metrics.count("dropped", len(pairs))
            return
        good = [item for item, _ in pairs]
        # A row is a view, which would keep all outputs of its batch alive; stacking copies it.
        probabilities = np.stack([result.probabilities for _, result in pairs])
        infer_seconds = [result.seconds.infer for _, result in pairs]
        size = probabilities.nbytes + sum(map(_size, good))
        if self._waiting_bytes + size > MAX_WAITING_BYTES:
            metrics.count("dropped", len(good))
            return
        self._waiting_bytes += size
        self._waiting.put_nowait(
            _Copy(
                request_id,
                version.key,
                version.labels,
                version.has_independent_classes,
                shadow,
                good,
                probabilities,
                infer_seconds,
                size,
                metrics,
            )
        )
        if not self._tasks:
            # The tasks outlive the request that starts them, and are no part of its trace.
            self._tasks = [
                asyncio.create_task(self._compare_copies(), context=Context())
                for _ in range(self._runners)
            ]

    async def close(self) -> None:
        """Drop the copies that wait or run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _compare_copies(self) -> None:
        while True:
            copy = await self._waiting.get()
            while self._engine.in_flight >= self._spare:
                await asyncio.sleep(PAUSE_SECONDS)
            self._waiting_bytes -= copy.size
            try:
                await self._compare(copy)
            except OverloadedError:
                copy.metrics.count("dropped", len(copy.inputs))
            except Exception as error:  # noqa: BLE001 - no caller waits, and the next copy follows
                copy.metrics.count("failed", len(copy.inputs))
                self._log_once(copy, error)

    async def _compare(self, copy: _Copy) -> None:
        other = await self._find(Target(copy.key[0], copy.shadow))
        _check_fit(copy.inputs, other)
        request = InferenceRequest(
            _NoReply(), CallRecord("shadow"), lambda requests: None, bulk=True, untracked=True
        )
        request.inputs = copy.inputs
        results = await self._engine.run(other, request)
        for index, result in enumerate(results):
            if isinstance(result, ServingError):
                copy.metrics.count("failed")
                self._log_once(copy, result)
            else:
                copy.metrics.infer_seconds(copy.infer_seconds[index], result.seconds.infer)
                found = _compared(copy, copy.probabilities[index], result, other)
                if not found.agreed:
                    self._log_disagreement(copy, found)

    def _log_disagreement(self, copy: _Copy, found: _Comparison) -> None:
        """Log some of the disagreements, so that their inputs can be found."""
        model, number = copy.key
        if not self._disagreements.is_over((*copy.key, copy.shadow, found.clear)):
            return
        label, probability = _only(found.answer, found.shadow)
        shadow_label, shadow_probability = _only(found.shadow, found.answer)
        log.info(
            "shadow disagreed",
            request_id=copy.request_id,
            model=model,
            version=number,
            shadow=copy.shadow,
            label=label,
            probability=probability,
            margin=round(found.margin, 4),
            shadow_label=shadow_label,
            shadow_probability=shadow_probability,
        )

    def _log_once(self, copy: _Copy, error: Exception) -> None:
        """Log the first failure of a pair of versions in a while; the metric counts the rest."""
        if not self._failures.is_over((*copy.key, copy.shadow)):
            return
        model, number = copy.key
        reason = str(error) or type(error).__name__
        log.warning("shadow failed", model=model, version=number, shadow=copy.shadow, reason=reason)


def _size(item: Input) -> int:
    return len(item.data) if isinstance(item, EncodedImage) else item.array.nbytes


def _check_fit(inputs: Sequence[Input], other: LoadedVersion) -> None:
    for item in inputs:
        if isinstance(item, ReadyTensor) and item.array.shape != other.input_shape:
            raise ValueError(
                f"its input is {list(other.input_shape)}, and the copy is {list(item.array.shape)}"
            )


def _compared(
    copy: _Copy, row: NDArray[np.float32], result: InferenceResult, other: LoadedVersion
) -> _Comparison:
    """Compare two results of one input: the named classes by their labels, then all classes."""
    found = _Comparison(
        _named(row, copy.labels, independent=copy.independent),
        _named(result.probabilities, other.labels, independent=other.has_independent_classes),
        float(margins(row, independent=copy.independent)),
    )
    copy.metrics.compared(agreed=found.agreed, clear=found.clear)
    if copy.labels == other.labels:
        changes = np.abs(row - result.probabilities)
        copy.metrics.changes(float(changes.max()), float(changes[int(row.argmax())]))
    return found


def _named(
    row: NDArray[np.float32], labels: Sequence[str], *, independent: bool
) -> dict[str, float]:
    """Return the classes that a result names, with their probabilities."""
    named = np.flatnonzero(named_classes(row, independent=independent))
    return {labels[index]: float(row[index]) for index in named.tolist()}


def _only(one: Mapping[str, float], other: Mapping[str, float]) -> tuple[str, float | None]:
    """Return the most probable class that only one of two results names; "" if there is none."""
    only = {label: probability for label, probability in one.items() if label not in other}
    if not only:
        return "", None
    label = max(only, key=only.__getitem__)
    return label, round(only[label], 4)
