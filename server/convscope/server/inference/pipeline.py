"""One version's way from inputs to answers: decode, queue, infer."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import (
    DeadlineError,
    InvalidInputError,
    OverloadedError,
    ServingError,
    UnavailableError,
)
from convscope.server.inference.batcher import Batcher, ClosedError, ExpiredError, QueueFullError
from convscope.server.inference.decoding.pool import DecodePool
from convscope.server.inference.latency import LatencyEstimator
from convscope.server.inference.requests import (
    InferenceRequest,
    InferenceResult,
    Input,
    ReadyTensor,
)
from convscope.server.observability.stages import StageSeconds
from convscope.server.runtime.model import BatchItem, BatchOutput
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["Observer", "Pipeline", "PipelineLimits"]

if TYPE_CHECKING:  # at run time, only when traces are wanted
    from convscope.server.observability.tracing import RequestTrace

Array = NDArray[np.generic]
# What is run, and who is to hear in which batch.
_Item = tuple[BatchItem, "RequestTrace | None"]


class Observer(Protocol):
    """Hears what one version does."""

    def stages(self, seconds: StageSeconds) -> None:
        """Hear of an input that was answered."""

    def predictions(
        self,
        labels: Sequence[str],
        classes: Sequence[Sequence[int]],
        scores: Sequence[Sequence[float]],
        entropy_ratios: Sequence[float],
    ) -> None:
        """Hear what was found for some inputs, as in `BatchOutput`, and the name of each class."""

    def batch(self, images: int) -> None:
        """Hear of a batch that ran."""

    def load(
        self,
        waiting: Callable[[], int],
        fill_ratio: Callable[[], float],
        running: Callable[[], int],
    ) -> None:
        """Learn how to ask for the images that wait, the fullest queue and the batches that run.

        Args:
            waiting: Tells the number of images, of all queues.
            fill_ratio: Tells how much of its bound the fullest queue holds.
            running: Tells the number of batches.
        """


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """The sizes of one version's queues and pools.

    Args:
        max_queue: Images that may wait to be decoded, and as many for a runner;
            as many again of bulk requests.
        max_delay_seconds: How long a free runner waits for a fuller batch.
        decode_workers: Images decoded at once.
    """

    max_queue: int
    max_delay_seconds: float
    decode_workers: int


class Pipeline:
    """Takes the inputs for one version through the stages.

    Args:
        version: Which one answers.
        limits: The sizes of its queues and pools.
        observer: Hears what it does.
    """

    def __init__(self, version: LoadedVersion, limits: PipelineLimits, observer: Observer) -> None:
        self._version = version
        self._limits = limits
        self._observer = observer
        self._max_batch = version.execution.max_batch
        self._batcher: Batcher[_Item, BatchOutput | Exception] = Batcher(
            self._run_batch,
            max_batch=self._max_batch,
            max_queue=limits.max_queue,
            max_delay=limits.max_delay_seconds,
            runners=version.execution.runners,
            on_batch=observer.batch,
        )
        self.last_used = asyncio.get_running_loop().time()
        self._requests = 0
        self._no_requests = asyncio.Event()
        self._no_requests.set()
        self._latency = LatencyEstimator()
        self._decode_pools: dict[bool, DecodePool] = {}  # by whether the request is bulk
        if version.preprocessor is not None:
            self._decode_pools = {
                bulk: DecodePool(version.preprocessor, limits.decode_workers, limits.max_queue)
                for bulk in (False, True)
            }
        observer.load(
            lambda: self._batcher.waiting + sum(d.waiting for d in self._decode_pools.values()),
            # Each queue refuses by itself: of a sum nobody sees which one is full.
            lambda: max(
                [self._batcher.fill_ratio, *(d.fill_ratio for d in self._decode_pools.values())]
            ),
            lambda: self._batcher.running,
        )

    def start(self) -> None:
        """Begin to run, on the running event loop."""
        self._batcher.start()

    def _run_batch(self, batch: Sequence[_Item]) -> list[BatchOutput | Exception]:
        """Run a batch, in a runner's thread; with all cores only while nothing else needs them."""
        concurrent = self._batcher.concurrent or self._decoding()
        works = [work for work, _ in batch]
        traces = [trace for _, trace in batch if trace is not None]
        if not traces:
            return self._version.model.run(works, concurrent=concurrent)
        images = sum(len(work.inputs) for work in works)
        with traces[0].batch(traces, images=images, size=len(works)):
            return self._version.model.run(works, concurrent=concurrent)

    async def drain(self) -> None:
        """Wait until every request has its answer; the caller sees to it that no more come."""
        await self._no_requests.wait()

    async def close(self) -> None:
        """Refuse what waits, and wait for what runs."""
        await self._batcher.close()
        for decode_pools in self._decode_pools.values():
            decode_pools.close()

    async def run(
        self, inputs: Sequence[Input], question: InferenceRequest
    ) -> list[InferenceResult | ServingError]:
        """Answer each input, or say why not.

        Raises:
            OverloadedError: A queue is full.
            DeadlineError: The deadline passed before an input was run, or will
                have passed before it could be.
            UnavailableError: The server is closing.
        """
        if not question.aside:
            self.last_used = asyncio.get_running_loop().time()
        self._requests += 1
        self._no_requests.clear()
        try:
            await self._load_feature_maps(question)
            if question.deadline is None:
                return await self._answer(inputs, question)
            return await self._answer_in_time(inputs, question, question.deadline)
        finally:
            self._requests -= 1
            if not self._requests:
                self._no_requests.set()

    async def _load_feature_maps(self, question: InferenceRequest) -> None:
        """Make the session with feature maps, here and not as a part of some batch's run."""
        model = self._version.model
        if not question.feature_maps or model.has_feature_map_session:
            return
        try:
            await asyncio.to_thread(model.load_feature_maps)
        except OSError as error:  # removed, and about to retire
            raise UnavailableError(
                f"the files of {self._version.key[0]} v{self._version.key[1]} are gone; call again"
            ) from error

    async def _answer_in_time(
        self, inputs: Sequence[Input], question: InferenceRequest, deadline: float
    ) -> list[InferenceResult | ServingError]:
        """Answer what can be answered in time, and learn how long it took."""
        estimate = self._estimate(inputs, question.bulk)
        self._check_in_time(deadline, estimate)
        started_at = perf_counter()
        try:
            answers = await self._answer(inputs, question)
        except (asyncio.CancelledError, DeadlineError):
            self._latency.learn(estimate, max(estimate, perf_counter() - started_at))
            raise
        self._latency.learn(estimate, perf_counter() - started_at)
        return answers

    def _estimate(self, inputs: Sequence[Input], bulk: bool) -> float:
        """Add up how long the stages take, behind what is in them already."""
        size = len(inputs)
        images = sum(not isinstance(item, ReadyTensor) for item in inputs)
        if not images or not self._decode_pools:
            return self._batcher.seconds_until_done(size, bulk=bulk)
        # What is decoded now comes to the runners first.
        ahead = sum(d.waiting for kind, d in self._decode_pools.items() if bulk or not kind)
        return self._decode_pools[bulk].seconds_until_done(
            images
        ) + self._batcher.seconds_until_done(size + ahead, bulk=bulk)

    def _check_in_time(self, deadline: float, estimate: float) -> None:
        """Shed now what would be too late in the end: quickly, and before it costs anything.

        What finds nothing ahead of it is run whatever the estimate says: else a
        single slow run could shut the lane to all short deadlines for good.
        """
        if not self._batcher.waiting and not self._decoding():
            return
        needed = self._latency.correct(estimate)
        left = deadline - asyncio.get_running_loop().time()
        if needed > left:
            raise DeadlineError(
                f"an answer takes about {needed:.3f} s now, and the deadline is in "
                f"{max(left, 0):.3f} s; allow more time, or send less"
            )

    def _decoding(self) -> bool:
        return any(decode_pools.waiting for decode_pools in self._decode_pools.values())

    async def _answer(
        self, inputs: Sequence[Input], question: InferenceRequest
    ) -> list[InferenceResult | ServingError]:
        seconds = [StageSeconds() for _ in inputs]
        if question.trace is not None:
            question.trace.seconds = seconds
        prepared = await self._prepare(inputs, question, seconds)
        arrays = [item for item in prepared if not isinstance(item, ServingError)]
        if len(arrays) == len(prepared) <= self._max_batch:
            return await self._infer(arrays, seconds, question)
        return await self._infer_in_parts(prepared, seconds, question)

    async def _prepare(
        self, inputs: Sequence[Input], question: InferenceRequest, seconds: Sequence[StageSeconds]
    ) -> Sequence[Array | ServingError]:
        """Bring every input to the graph's own shape."""
        ready: list[Array | ServingError] = [
            item.array for item in inputs if isinstance(item, ReadyTensor)
        ]
        if len(ready) == len(inputs):
            return ready
        if not self._decode_pools:
            return [self._refuse_image()] * len(inputs)
        images = [
            (item, times)
            for item, times in zip(inputs, seconds, strict=True)
            if not isinstance(item, ReadyTensor)
        ]
        decode_pools = self._decode_pools[question.bulk]
        decoded = iter(await decode_pools.decode(*zip(*images, strict=True)))
        return [item.array if isinstance(item, ReadyTensor) else next(decoded) for item in inputs]

    def _refuse_image(self) -> InvalidInputError:
        manifest = self._version.manifest
        return InvalidInputError(
            f"{manifest.model} takes no images; send a float32 tensor {list(manifest.input.shape)}"
        )

    async def _infer_in_parts(
        self,
        prepared: Sequence[Array | ServingError],
        seconds: Sequence[StageSeconds],
        question: InferenceRequest,
    ) -> list[InferenceResult | ServingError]:
        """Run what is good, in as many batches as it takes."""
        outcomes = {i: item for i, item in enumerate(prepared) if isinstance(item, ServingError)}
        good = [(i, item) for i, item in enumerate(prepared) if not isinstance(item, ServingError)]
        parts = [good[i : i + self._max_batch] for i in range(0, len(good), self._max_batch)]
        # All of it or nothing: a request that is refused must leave no part in the queue.
        if not self._batcher.has_room(len(good), bulk=question.bulk):
            raise self._queue_full()
        answered = await asyncio.gather(
            *(
                self._infer(
                    [item for _, item in part], [seconds[i] for i, _ in part], question, True
                )
                for part in parts
            ),
            return_exceptions=True,
        )
        found: dict[int, InferenceResult | ServingError] = dict(outcomes)
        for part, answers in zip(parts, answered, strict=True):
            if isinstance(answers, BaseException):
                raise answers
            found.update(zip((i for i, _ in part), answers, strict=True))
        return [found[i] for i in range(len(prepared))]

    def _queue_full(self) -> OverloadedError:
        return OverloadedError(
            f"the queue of {self._version.manifest.model} is full "
            f"({self._limits.max_queue} images); retry later"
        )

    async def _infer(
        self,
        arrays: Sequence[Array],
        seconds: Sequence[StageSeconds],
        question: InferenceRequest,
        admitted: bool = False,
    ) -> list[InferenceResult | ServingError]:
        """Run a few inputs as one piece of work."""
        inputs = arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)
        try:
            completed = await self._batcher.submit(
                (
                    BatchItem(inputs, question.feature_maps, question.top_k, question.logits),
                    question.trace,
                ),
                size=len(arrays),
                deadline=question.deadline,
                bulk=question.bulk,
                admitted=admitted,
            )
        except QueueFullError as error:
            raise self._queue_full() from error
        except ExpiredError as error:
            raise DeadlineError(
                f"the deadline passed while the input waited for {self._version.manifest.model}; "
                "allow more time"
            ) from error
        except ClosedError as error:
            raise UnavailableError("the server is shutting down; call another one") from error
        output = completed.result
        if isinstance(output, Exception):
            raise output
        for times in seconds:
            times.queue += completed.queue_seconds
            times.infer = completed.run_seconds
        if not question.aside:
            self._observe(output, seconds)
        return [_pick(output, row, times) for row, times in enumerate(seconds)]

    def _observe(self, output: BatchOutput, seconds: Sequence[StageSeconds]) -> None:
        for times in seconds:
            self._observer.stages(times)
        self._observer.predictions(
            self._version.labels, output.classes, output.scores, output.entropy_ratios
        )


def _pick(output: BatchOutput, row: int, seconds: StageSeconds) -> InferenceResult:
    maps = {name: array[row] for name, array in output.feature_maps.items()}
    return InferenceResult(
        output.classes[row],
        output.scores[row],
        maps,
        output.probabilities[row],
        seconds,
        None if output.logits is None else output.logits[row],
    )
