"""Takes the requests for one version from inputs to replies: decode, queue, run, encode."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

from convscope.server.errors import (
    DeadlineError,
    InvalidInputError,
    OverloadedError,
    ServingError,
    ShuttingDownError,
)
from convscope.server.inference.admission import DeadlineAdmission
from convscope.server.inference.batch import Part
from convscope.server.inference.batcher import Batcher
from convscope.server.inference.decoding.pool import QUEUE_PIXELS, DecodePool, Image
from convscope.server.inference.encoding import ReplyEncoder, encode
from convscope.server.inference.explanations import trace_attributes
from convscope.server.inference.lazy_sessions import (
    LazySession,
    explained_session,
    feature_map_session,
)
from convscope.server.inference.model_runner import Completed, ModelRunner
from convscope.server.inference.observer import Observer
from convscope.server.inference.pipeline_limits import PipelineLimits
from convscope.server.inference.queue import ClosedError, Entry, ExpiredError
from convscope.server.inference.requests import InferenceRequest, Outcome, ReadyTensor
from convscope.server.observability.stages import StageSeconds
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["Pipeline", "PipelineLimits"]

Stage = DecodePool | Batcher[Part, Completed]

# Decoded images of each priority that may wait for a runner, if they have large inputs.
MAX_DECODED_BYTES = 256 * 2**20


class Pipeline:
    """Takes groups of requests for one version through the stages.

    Args:
        version: The version that runs them.
        limits: The sizes of its queues and pools.
        observer: Observes what it does.
        encoder: Encodes large replies.
        complete: Called on the event loop with requests that have an outcome. It
            calls `leave` for each of them, once.
    """

    def __init__(
        self,
        version: LoadedVersion,
        limits: PipelineLimits,
        observer: Observer,
        encoder: ReplyEncoder,
        complete: Callable[[Completed], None],
    ) -> None:
        self._version = version
        self._limits = limits
        self._max_queue = _max_queue(version, limits.max_queue)
        self._complete = complete
        self._loop = asyncio.get_running_loop()
        self._decoder: DecodePool | None = None
        if version.preprocessor is not None:
            self._decoder = DecodePool(
                version.preprocessor,
                self._decoded,
                self._fail,
                workers=limits.decode_workers,
                max_waiting=limits.max_queue,
            )
        self._runner = ModelRunner(
            version,
            observer,
            encoder,
            complete,
            self._fail,
            max_queue=self._max_queue,
            max_delay_seconds=limits.max_delay_seconds,
            decoding=_busy(self._decoder),
        )
        self._admission = DeadlineAdmission(self._runner.batcher, self._decoder)
        self.last_used = self._loop.time()
        self._requests = 0
        self._no_requests = asyncio.Event()
        self._no_requests.set()
        self._map_session = feature_map_session(version, self._advance, complete)
        self._explained_session = explained_session(version, self._advance, complete)
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
        self._runner.start()
        if self._decoder is not None:
            self._decoder.start()

    async def drain(self) -> None:
        """Wait until every request is completed; the caller ensures that no more arrive."""
        await self._no_requests.wait()

    async def close(self) -> None:
        """Reject the waiting requests, and wait for the running batches."""
        if self._closed:
            return
        self._closed = True
        self._map_session.close()
        self._explained_session.close()
        if self._decoder is not None:
            await self._decoder.close()
        await self._runner.batcher.close()

    def submit(self, requests: Sequence[InferenceRequest]) -> None:
        """Take prepared requests for this version; each will be completed, now or later."""
        self._requests += len(requests)
        self._no_requests.clear()
        now = self._loop.time()
        for request in requests:
            if not request.untracked:
                self.last_used = now
            request.seconds = seconds = [StageSeconds() for _ in request.inputs]
            if request.trace is not None:
                request.trace.enter(seconds, trace_attributes(request.explanation, len(seconds)))
        self._advance(requests)

    def leave(self, request: InferenceRequest) -> None:
        """Forget a request that is completed, and learn from it."""
        if request.error is not None:
            self._discard(request)
        self._admission.learn(request)
        self._requests -= 1
        if not self._requests:
            self._no_requests.set()

    def _discard(self, request: InferenceRequest) -> None:
        """Remove what still waits of a request that failed."""
        # An only entry that failed no longer waits.
        has_several = len(request.inputs) > 1 or request.explanation is not None
        if has_several or isinstance(request.error, asyncio.CancelledError):
            self._runner.batcher.discard(request)
            if self._decoder is not None:
                self._decoder.discard(request)

    def _advance(self, requests: Sequence[InferenceRequest]) -> None:
        """Take requests as far as possible; those that need a session may have waited for it."""
        images: list[list[Image]] = []
        parts: list[list[Part]] = []
        ended: Completed = []
        self._admission.begin_group()
        for request in requests:
            try:
                if (request.feature_maps or request.explanation) and self._parks(request):
                    continue
                to_decode = self._prepare(request)
                self._admission.admit(request, to_decode)
                if to_decode:
                    images.append(to_decode)
                elif to_run := self._runner.parts(request):
                    parts.append(to_run)
                else:
                    ended.append(_without_run(request))
            except Exception as error:  # noqa: BLE001 - the caller receives it
                ended.append((request, error))
        if images and self._decoder is not None:
            self._queue(self._decoder, images, self._decoder_full, ended)
        if parts:
            self._queue(self._runner.batcher, parts, self._queue_full, ended)
        if ended:
            self._complete(ended)

    def _parks(self, request: InferenceRequest) -> bool:
        """Park a request if a session that it needs isn't open yet; report whether it is parked."""
        missing = self._missing_session(request)
        if missing is None:
            return False
        if self._closed:
            raise ShuttingDownError
        missing.park(request)
        return True

    def _missing_session(self, request: InferenceRequest) -> LazySession | None:
        if request.feature_maps and not self._map_session.is_open:
            return self._map_session
        explanation = request.explanation
        if explanation is None or not explanation.needs_session or self._explained_session.is_open:
            return None
        return self._explained_session

    def _prepare(self, request: InferenceRequest) -> list[Image]:
        """Take over the inputs that have the graph's own shape; return the images to decode."""
        images: list[Image] = []
        prepared = request.prepared
        prepared.clear()
        for index, item in enumerate(request.inputs):
            if isinstance(item, ReadyTensor):
                prepared.append(item.array)
            elif isinstance(item, ServingError):
                prepared.append(item)
            elif self._decoder is None:
                prepared.append(self._no_images())
            else:
                prepared.append(None)
                try:
                    images.append(self._decoder.image(request, index))
                except InvalidInputError as error:
                    prepared[index] = error.with_traceback(None)
        request.pending = len(images)
        return images

    def _decoded(self, request: InferenceRequest) -> None:
        """Pass on a request whose images are decoded; called in a decoder's thread."""
        ended: Completed = []
        if parts := self._runner.parts(request):
            self._queue(self._runner.batcher, [parts], self._queue_full, ended)
        else:
            ended.append(_without_run(request))
        if ended:
            self._loop.call_soon_threadsafe(self._complete, ended)

    def _queue(
        self,
        stage: Any,  # a DecodePool or a Batcher
        groups: Sequence[Sequence[Entry[InferenceRequest]]],
        full: Callable[[], OverloadedError],
        ended: Completed,
    ) -> None:
        """Queue the entries of several requests at a stage; those without room have ended."""
        try:
            rejected = stage.submit(groups)
        except Exception as error:  # noqa: BLE001 - the callers receive it
            ended += [(group[0].request, self._translate(error)) for group in groups]
        else:
            ended += [(group[0].request, full()) for group in rejected]

    def _fail(self, entries: Sequence[Entry[InferenceRequest]], error: BaseException) -> None:
        """Complete requests of which a part failed, on the loop."""
        error = self._translate(error)
        self._complete([(request, error) for request in {e.request: None for e in entries}])

    def _translate(self, error: BaseException) -> BaseException:
        """Return the error that callers receive."""
        if isinstance(error, ExpiredError):
            return DeadlineError(
                f"the deadline passed while the input waited for {self._version.key[0]}; "
                "allow more time"
            )
        return ShuttingDownError() if isinstance(error, ClosedError) else error

    def _queue_full(self) -> OverloadedError:
        return OverloadedError(
            f"the queue of {self._version.key[0]} is full ({self._max_queue} images); retry later"
        )

    def _decoder_full(self) -> OverloadedError:
        waiting = 0 if self._decoder is None else self._decoder.waiting
        return OverloadedError(
            f"{waiting} images wait to be decoded; at most {self._limits.max_queue} of each "
            f"priority may wait, fewer of those above {QUEUE_PIXELS // 10**6} megapixels; "
            "retry later"
        )

    def _no_images(self) -> InvalidInputError:
        model, shape = self._version.key[0], list(self._version.input_shape)
        return InvalidInputError(f"{model} accepts no images; send a float32 tensor {shape}")


def _without_run(request: InferenceRequest) -> tuple[InferenceRequest, Outcome]:
    """End a request of which no input can be run; the reply has only errors."""
    request.results = [item for item in request.prepared if isinstance(item, ServingError)]
    return request, encode(request)


def _max_queue(version: LoadedVersion, images: int) -> int:
    """Return how many inputs may wait for a runner; tensors wait in their message's memory."""
    if version.preprocessor is None:
        return images
    return max(1, min(images, MAX_DECODED_BYTES // math.prod(version.input_shape)))


def _busy(decoder: DecodePool | None) -> Callable[[], bool]:
    """Return whether a decoder works.

    A method of the pipeline would do, but the runner would then refer to its owner: such
    a cycle keeps a retired model in memory until the next full garbage collection.
    """
    return lambda: decoder is not None and decoder.busy
