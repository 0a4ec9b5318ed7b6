"""Runs prepared inputs on a version's model, in batches."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import NonFiniteError, ServingError
from convscope.server.inference.batch import BatchItem, BatchOutput, run_batch
from convscope.server.inference.batcher import Batcher
from convscope.server.inference.observer import Observer
from convscope.server.inference.queue import Completed
from convscope.server.inference.requests import InferenceRequest, InferenceResult
from convscope.server.observability.stages import RequestTrace, StageSeconds
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["ModelRunner"]

Array = NDArray[np.generic]
Results = list[InferenceResult | ServingError]
# What is run, and the trace of its request.
_Item = tuple[BatchItem, RequestTrace | None]

T = TypeVar("T")


class ModelRunner:
    """Puts inputs into batches, and takes the results apart.

    Args:
        version: The version whose model runs.
        observer: Observes batches and results.
        max_queue: Inputs of each priority that may wait.
        max_delay_seconds: How long a free runner waits for a fuller batch.
        decoding: Whether images are being decoded, which also needs cores.
    """

    def __init__(
        self,
        version: LoadedVersion,
        observer: Observer,
        *,
        max_queue: int,
        max_delay_seconds: float,
        decoding: Callable[[], bool],
    ) -> None:
        self._version = version
        self._observer = observer
        self._decoding = decoding
        self._max_batch = version.execution.max_batch
        self.batcher: Batcher[_Item, BatchOutput | Exception] = Batcher(
            self._run_batch,
            max_batch=self._max_batch,
            max_queue=max_queue,
            max_delay=max_delay_seconds,
            runners=version.execution.runners,
            on_batch=observer.batch,
        )

    async def infer(
        self,
        prepared: Sequence[Array | ServingError],
        seconds: Sequence[StageSeconds],
        request: InferenceRequest,
    ) -> Results:
        """Run the inputs that have no error yet, in as many batches as needed.

        Args:
            prepared: For each input the graph's input without its batch
                dimension, or its error.
            seconds: Where each input's times are noted.
            request: What is computed.

        Raises:
            QueueFullError: The queue has no room for all of them; none was queued.
            ExpiredError: The deadline passed before a runner was free.
            ClosedError: The runner is closed, or was closed while an input waited.
            Exception: Whatever the run of a batch raised.
        """
        arrays = [item for item in prepared if not isinstance(item, ServingError)]
        if len(arrays) == len(prepared) <= self._max_batch:
            completed = await self.batcher.submit(
                (_batch_item(arrays, request), request.trace),
                size=len(arrays),
                deadline=request.deadline,
                bulk=request.bulk,
            )
            return self._results(completed, seconds, request)
        return await self._infer_in_parts(prepared, seconds, request)

    async def _infer_in_parts(
        self,
        prepared: Sequence[Array | ServingError],
        seconds: Sequence[StageSeconds],
        request: InferenceRequest,
    ) -> Results:
        """Run the inputs without an error as several items."""
        good = [(i, item) for i, item in enumerate(prepared) if not isinstance(item, ServingError)]
        parts = [good[i : i + self._max_batch] for i in range(0, len(good), self._max_batch)]
        all_completed = await self.batcher.submit_all(
            [(_batch_item([array for _, array in part], request), request.trace) for part in parts],
            [len(part) for part in parts],
            deadline=request.deadline,
            bulk=request.bulk,
        )
        results: dict[int, InferenceResult | ServingError] = {
            i: item for i, item in enumerate(prepared) if isinstance(item, ServingError)
        }
        for part, completed in zip(parts, all_completed, strict=True):
            indices = [i for i, _ in part]
            part_results = self._results(completed, [seconds[i] for i in indices], request)
            results.update(zip(indices, part_results, strict=True))
        return [results[i] for i in range(len(prepared))]

    def _results(
        self,
        completed: Completed[BatchOutput | Exception],
        seconds: Sequence[StageSeconds],
        request: InferenceRequest,
    ) -> Results:
        """Return the results of one item, one per input, and observe them."""
        output = completed.result
        if isinstance(output, Exception):
            raise output
        for times in seconds:
            times.queue += completed.queue_seconds
            times.infer = completed.run_seconds
        if not request.untracked:
            self._observe(output)
        results: Results = [_result(output, row, times) for row, times in enumerate(seconds)]
        for row in output.non_finite:
            results[row] = NonFiniteError(*self._version.key)
        return results

    def _run_batch(self, batch: Sequence[_Item]) -> list[BatchOutput | Exception]:
        """Run a batch in a runner's thread; with all cores only while nothing else needs them."""
        model = self._version.model
        concurrent = self.batcher.concurrent or self._decoding()
        items = [item for item, _ in batch]
        traces = [trace for _, trace in batch if trace is not None]
        if not traces:
            return run_batch(model, items, concurrent=concurrent)
        images = sum(len(item.inputs) for item in items)
        with traces[0].batch(traces, images=images, size=len(items)):
            return run_batch(model, items, concurrent=concurrent)

    def _observe(self, output: BatchOutput) -> None:
        # What isn't finite is no prediction, and would spoil the sums of the metrics for good.
        self._observer.predictions(
            self._version.labels,
            _without(output.classes, output.non_finite),
            _without(output.scores, output.non_finite),
            _without(output.entropy_ratios, output.non_finite),
        )


def _batch_item(arrays: Sequence[Array], request: InferenceRequest) -> BatchItem:
    return BatchItem(
        arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays),
        request.feature_maps,
        request.top_k,
        request.logits,
        request.untracked,
    )


def _without(column: Sequence[T], rows: Sequence[int]) -> Sequence[T]:
    if not rows:
        return column
    return [value for row, value in enumerate(column) if row not in rows]


def _result(output: BatchOutput, row: int, seconds: StageSeconds) -> InferenceResult:
    maps = {name: array[row] for name, array in output.feature_maps.items()}
    return InferenceResult(
        output.classes[row],
        output.scores[row],
        maps,
        output.probabilities[row],
        seconds,
        None if output.logits is None else output.logits[row],
    )
