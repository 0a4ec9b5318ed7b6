"""Takes the inputs for one version from request to result: decode, queue, infer."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import (
    DeadlineError,
    InvalidInputError,
    OverloadedError,
    ServingError,
    UnavailableError,
)
from convscope.server.inference.admission import DeadlineAdmission
from convscope.server.inference.decoding.pool import DecodePool
from convscope.server.inference.model_runner import ModelRunner
from convscope.server.inference.observer import Observer
from convscope.server.inference.queue import ClosedError, ExpiredError, QueueFullError
from convscope.server.inference.requests import (
    InferenceRequest,
    InferenceResult,
    Input,
    ReadyTensor,
)
from convscope.server.observability.stages import StageSeconds
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["Pipeline", "PipelineLimits"]

Array = NDArray[np.generic]
Results = list[InferenceResult | ServingError]


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """The sizes of one version's queues and pools.

    Args:
        max_queue: Images of each priority that may wait to be decoded, and as
            many that may wait for a runner.
        max_delay_seconds: How long a free runner waits for a fuller batch.
        decode_workers: Images decoded at once.
    """

    max_queue: int
    max_delay_seconds: float
    decode_workers: int


class Pipeline:
    """Takes the inputs for one version through the stages.

    Args:
        version: The version that runs them.
        limits: The sizes of its queues and pools.
        observer: Observes what it does.
    """

    def __init__(self, version: LoadedVersion, limits: PipelineLimits, observer: Observer) -> None:
        self._version = version
        self._limits = limits
        self._decoder: DecodePool | None = None
        if version.preprocessor is not None:
            self._decoder = DecodePool(
                version.preprocessor, limits.decode_workers, limits.max_queue
            )
        self._runner = ModelRunner(
            version,
            observer,
            max_queue=limits.max_queue,
            max_delay_seconds=limits.max_delay_seconds,
            decoding=_busy(self._decoder),
        )
        self._admission = DeadlineAdmission(self._runner.batcher, self._decoder)
        self.last_used = asyncio.get_running_loop().time()
        self._requests = 0
        self._no_requests = asyncio.Event()
        self._no_requests.set()
        # Its own thread, so that slow session builds block nothing else.
        self._session_builder = ThreadPoolExecutor(1, thread_name_prefix="session-builder")
        self._session_build: asyncio.Future[None] | None = None
        self._closed = False
        batcher = self._runner.batcher
        stages = [stage for stage in (batcher, self._decoder) if stage is not None]
        observer.load(
            lambda: sum(stage.waiting for stage in stages),
            # Each queue rejects on its own, so a sum would not show which one is full.
            lambda: max(stage.fill_ratio for stage in stages),
            lambda: batcher.running,
        )

    def start(self) -> None:
        """Start to run, on the running event loop."""
        self._runner.batcher.start()
        if self._decoder is not None:
            self._decoder.start()

    async def drain(self) -> None:
        """Wait until every request has ended; the caller ensures that no more arrive."""
        await self._no_requests.wait()

    async def close(self) -> None:
        """Reject the waiting requests, and wait for the running batches."""
        self._closed = True
        self._session_builder.shutdown(wait=False)
        if self._decoder is not None:
            await self._decoder.close()
        await self._runner.batcher.close()

    async def run(self, inputs: Sequence[Input], request: InferenceRequest) -> Results:
        """Return a result or an error for each input.

        Raises:
            OverloadedError: A queue is full.
            DeadlineError: The deadline passed before an input was run, or would
                pass before it could be.
            UnavailableError: The server is closing.
        """
        if not request.untracked:
            self.last_used = asyncio.get_running_loop().time()
        self._requests += 1
        self._no_requests.clear()
        try:
            await self._load_feature_maps(request)
            if request.deadline is None:
                return await self._process(inputs, request)
            return await self._process_in_time(inputs, request, request.deadline)
        finally:
            self._requests -= 1
            if not self._requests:
                self._no_requests.set()

    async def _load_feature_maps(self, request: InferenceRequest) -> None:
        """Build the session with feature maps, once, and not as a part of some batch's run."""
        model = self._version.model
        if not request.feature_maps or model.has_feature_map_session:
            return
        if self._session_build is None or self._session_build.done():  # the last one failed
            if self._closed:
                raise _closed()
            self._session_build = asyncio.get_running_loop().run_in_executor(
                self._session_builder, model.load_feature_maps
            )
        try:
            # Other requests may wait for it too: one that is cancelled doesn't end the build.
            await asyncio.shield(self._session_build)
        except OSError as error:  # the files were removed, and the version will be unloaded
            raise UnavailableError(
                f"the files of {self._version.key[0]} v{self._version.key[1]} are gone; call again"
            ) from error

    async def _process_in_time(
        self, inputs: Sequence[Input], request: InferenceRequest, deadline: float
    ) -> Results:
        """Process a request unless it can't meet its deadline, and learn how long it took."""
        bulk = request.bulk
        estimate = self._admission.estimate(inputs, bulk=bulk)
        self._admission.check(deadline, estimate, bulk=bulk)
        started_at = perf_counter()
        try:
            results = await self._process(inputs, request)
        except (asyncio.CancelledError, DeadlineError):
            seconds = max(estimate, perf_counter() - started_at)
            self._admission.learn(estimate, seconds, bulk=bulk)
            raise
        self._admission.learn(estimate, perf_counter() - started_at, bulk=bulk)
        return results

    async def _process(self, inputs: Sequence[Input], request: InferenceRequest) -> Results:
        """Take a request through the stages, with the errors that callers receive."""
        seconds = [StageSeconds() for _ in inputs]
        if request.trace is not None:
            request.trace.seconds = seconds
        model = self._version.manifest.model
        try:
            prepared = await self._prepare(inputs, request, seconds)
            return await self._runner.infer(prepared, seconds, request)
        except QueueFullError as error:
            raise OverloadedError(
                f"the queue of {model} is full ({self._limits.max_queue} images); retry later"
            ) from error
        except ExpiredError as error:
            raise DeadlineError(
                f"the deadline passed while the input waited for {model}; allow more time"
            ) from error
        except ClosedError as error:
            raise _closed() from error

    async def _prepare(
        self, inputs: Sequence[Input], request: InferenceRequest, seconds: Sequence[StageSeconds]
    ) -> Sequence[Array | ServingError]:
        """Convert every input to the graph's own shape."""
        ready: list[Array | ServingError] = [
            item.array for item in inputs if isinstance(item, ReadyTensor)
        ]
        if len(ready) == len(inputs):
            return ready
        if self._decoder is None:
            return [
                item.array if isinstance(item, ReadyTensor) else self._no_images()
                for item in inputs
            ]
        pairs = [
            (item, times)
            for item, times in zip(inputs, seconds, strict=True)
            if not isinstance(item, ReadyTensor)
        ]
        images, times = zip(*pairs, strict=True)
        decoded = iter(
            await self._decoder.decode(images, times, deadline=request.deadline, bulk=request.bulk)
        )
        return [item.array if isinstance(item, ReadyTensor) else next(decoded) for item in inputs]

    def _no_images(self) -> InvalidInputError:
        model, shape = self._version.key[0], list(self._version.input_shape)
        return InvalidInputError(f"{model} accepts no images; send a float32 tensor {shape}")


def _busy(decoder: DecodePool | None) -> Callable[[], bool]:
    """Return whether a decoder works.

    A method of the pipeline would do, but the runner would then refer to its owner: such
    a cycle keeps a retired model in memory until the next full garbage collection.
    """
    return lambda: decoder is not None and decoder.busy


def _closed() -> UnavailableError:
    return UnavailableError("the server is shutting down; call another one")
