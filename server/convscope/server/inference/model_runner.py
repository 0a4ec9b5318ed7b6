"""Runs prepared inputs on a version's model, in batches, and encodes the replies."""

import asyncio
from collections.abc import Callable, Sequence
from threading import Lock

from convscope.server.errors import ServingError
from convscope.server.inference.batch import Part, Results, explained_attributes, run_batch
from convscope.server.inference.batcher import Batcher
from convscope.server.inference.encoding import ReplyEncoder, encode
from convscope.server.inference.observer import Observer
from convscope.server.inference.queue import Entry
from convscope.server.inference.requests import InferenceRequest, Outcome
from convscope.server.runtime.execution import INLINE_SECONDS
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["ModelRunner"]

# Requests that are completed together, and their outcomes.
Completed = list[tuple[InferenceRequest, Outcome]]


class ModelRunner:
    """Puts inputs into batches, gathers the results of each request, and encodes its reply.

    Args:
        version: The version whose model runs.
        observer: Observes the batches.
        encoder: Encodes large replies.
        complete: Called on the event loop with requests that have an outcome.
        fail: Called on the event loop with parts that didn't run, and the reason.
        max_queue: Inputs of each priority that may wait.
        max_delay_seconds: How long a free runner waits for a fuller batch.
        decoding: Whether images are being decoded, which also needs cores.
    """

    def __init__(
        self,
        version: LoadedVersion,
        observer: Observer,
        encoder: ReplyEncoder,
        complete: Callable[[Completed], None],
        fail: Callable[[Sequence[Entry[InferenceRequest]], BaseException], None],
        *,
        max_queue: int,
        max_delay_seconds: float,
        decoding: Callable[[], bool],
    ) -> None:
        self._version = version
        self._observer = observer
        self._encoder = encoder
        self._complete = complete
        self._decoding = decoding
        self._max_batch = version.execution.max_batch
        self._lock = Lock()
        self.batcher: Batcher[Part, Completed] = Batcher(
            self.run,
            self._deliver,
            fail,
            max_batch=self._max_batch,
            max_queue=max_queue,
            max_delay=max_delay_seconds,
            runners=version.execution.runners,
            inline_seconds=INLINE_SECONDS if version.execution.inline else 0.0,
        )

    def start(self) -> None:
        """Start to run, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self.batcher.start()

    def parts(self, request: InferenceRequest) -> list[Part]:
        """Split the prepared inputs of a request into parts; none if all of them have errors."""
        prepared = request.prepared
        good = [i for i, item in enumerate(prepared) if not isinstance(item, ServingError)]
        parts = [
            Part(request, good[start : start + self._max_batch])
            for start in range(0, len(good), self._max_batch)
        ]
        if request.explanation is not None and good:
            rows = request.explanation.add_occluded(prepared)
            parts += [
                Part(request, rows[start : start + self._max_batch])
                for start in range(0, len(rows), self._max_batch)
            ]
        request.pending = len(parts)
        return parts

    def run(self, parts: list[Part]) -> Completed:
        """Do all the work of a batch: concatenate, run, rank, gather and encode.

        Args:
            parts: The parts of the batch.

        Returns:
            The requests that end with this batch.
        """
        outputs = self._run_traced(parts)
        completed: Completed = []
        for part, output in zip(parts, outputs, strict=True):
            request = part.request
            if isinstance(output, Exception):
                completed.append((request, output))
            elif self._gather(part, output) and not request.done:
                if request.is_large and self._encoder.submit(request, self._encoded):
                    continue
                completed.append((request, encode(request)))
        return completed

    def _run_traced(self, parts: list[Part]) -> list[Results | Exception]:
        """Run a batch, with all cores only while nothing else needs them."""
        model = self._version.model
        concurrent = self.batcher.concurrent or self._decoding()
        traces = [part.request.trace for part in parts if part.request.trace is not None]
        if not traces:
            return run_batch(model, parts, concurrent=concurrent)
        traces = list(dict.fromkeys(traces))  # several parts may belong to one request
        requests = len({part.request: None for part in parts})
        images, attributes = sum(part.size for part in parts), explained_attributes(parts)
        with traces[0].batch(traces, images=images, size=requests, attributes=attributes):
            return run_batch(model, parts, concurrent=concurrent)

    def _gather(self, part: Part, results: Results) -> bool:
        """Keep the results of a part in its request; report whether it was the last one."""
        request = part.request
        if part.size == len(request.prepared):
            request.results = results
            return True
        with self._lock:
            if request.partial is None:
                request.partial = list(request.prepared)
            for index, result in zip(part.indices, results, strict=True):
                request.partial[index] = result
            request.pending -= 1
            if request.pending:
                return False
        results = request.partial
        if request.explanation is not None:
            results = request.explanation.take_occluded(results, request.seconds)
        request.results = results
        return True

    def _deliver(self, parts: list[Part], completed: Completed) -> None:
        self._observer.batch(sum(part.size for part in parts))
        self._complete(completed)

    def _encoded(self, request: InferenceRequest, outcome: Outcome) -> None:
        """Complete a request with a large reply; called in a thread of the encoder."""
        self._loop.call_soon_threadsafe(self._complete, [(request, outcome)])
