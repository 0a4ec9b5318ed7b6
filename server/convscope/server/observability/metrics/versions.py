"""What is counted of one version of a model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import time

import grpc
from prometheus_client import Counter

from convscope.server.observability.metrics.families import CODES, PRIORITIES, STAGES, Families
from convscope.server.observability.metrics.totals import Total, VersionTotals
from convscope.server.observability.stages import StageSeconds

__all__ = ["MAX_CLASSES", "PredictedClasses", "VersionMetrics"]

# Series of one version's predicted classes.
MAX_CLASSES = 100
OTHER_CLASSES = "other"


class VersionMetrics:
    """The metrics of one version, with every label looked up once; an observer of the engine."""

    def __init__(self, families: Families, model: str, version: str) -> None:
        labels = (model, version)
        self._predicted = PredictedClasses(families.predicted_classes, labels)
        self._top1 = families.top1_probability.labels(*labels)
        self._entropy = families.entropy_ratio.labels(*labels)
        self._requests = {code: families.requests.labels(*labels, code.name) for code in CODES}
        self._stages = {stage: families.stage_seconds.labels(*labels, stage) for stage in STAGES}
        self._decode, self._queue, self._infer, self._encode = self._stages.values()
        self._failed = Total()
        self._last_success_at = 0.0
        self._batch = families.batch_images.labels(*labels)
        self._interactive, self._bulk = (
            families.request_seconds.labels(*labels, priority) for priority in PRIORITIES
        )
        self._waiting = families.queue_images.labels(*labels)
        self._fill_ratio = families.queue_fill_ratio.labels(*labels)
        self._running = families.batches_running.labels(*labels)

    def stages(self, seconds: StageSeconds) -> None:
        """Observe the stages of one answered input."""
        self._decode.observe(seconds.decode)
        self._queue.observe(seconds.queue)
        self._infer.observe(seconds.infer)

    def predictions(
        self,
        labels: Sequence[str],
        classes: Sequence[Sequence[int]],
        scores: Sequence[Sequence[float]],
        entropy_ratios: Sequence[float],
    ) -> None:
        """Observe what was found for some inputs: of each the best class and its probability."""
        for ranked, probabilities in zip(classes, scores, strict=True):
            if ranked:
                self._predicted.count(labels[ranked[0]])
                self._top1.observe(probabilities[0])
        for ratio in entropy_ratios:
            self._entropy.observe(ratio)

    def request(self, code: grpc.StatusCode, seconds: float, *, bulk: bool) -> None:
        """Count a request that ended, and observe how long it took if it has its answer.

        Args:
            code: How it ended.
            seconds: How long it took.
            bulk: Whether it was to wait for the interactive ones.
        """
        self._requests[code].inc()
        # What is refused at once would make an overload look fast.
        if code is grpc.StatusCode.OK:
            (self._bulk if bulk else self._interactive).observe(seconds)
            self._last_success_at = time()
        else:
            self._failed.add(seconds)

    def totals(self) -> VersionTotals:
        """Add up what was done so far."""
        stages = {name: Total(s.count, s.total) for name, s in self._stages.items()}
        answered = (self._interactive, self._bulk)
        return VersionTotals(
            Total(sum(s.count for s in answered), sum(s.total for s in answered)),
            replace(self._failed),
            stages,
            self._batch.count,
            self._last_success_at,
        )

    def encode(self, seconds: float) -> None:
        """Observe the encoding of one reply."""
        self._encode.observe(seconds)

    def batch(self, images: int) -> None:
        """Observe the size of a batch."""
        self._batch.observe(images)

    def load(
        self,
        waiting: Callable[[], int],
        fill_ratio: Callable[[], float],
        running: Callable[[], int],
    ) -> None:
        """Have waiting images, the fullest queue and running batches asked for at each scrape."""
        self._waiting.set_function(waiting)
        self._fill_ratio.set_function(fill_ratio)
        self._running.set_function(running)

    def gone(self) -> None:
        """Ask no longer."""
        self.load(lambda: 0, lambda: 0.0, lambda: 0)

    def forget(self) -> None:
        """Drop the series of classes, whose labels nobody else knows."""
        self._predicted.forget()


class PredictedClasses:
    """Counts the best classes of one version.

    The first classes to be predicted have series of their own, up to a bound;
    the rest share one, so that a model of thousands of classes stays readable.
    """

    def __init__(self, counter: Counter, labels: tuple[str, str]) -> None:
        self._counter = counter
        self._labels = labels
        self._series: dict[str, Counter] = {}

    def count(self, name: str) -> None:
        """Count a prediction of the class with this name."""
        series = self._series.get(name)
        if series is None:
            series = self._open(name if len(self._series) < MAX_CLASSES else OTHER_CLASSES)
        series.inc()

    def forget(self) -> None:
        """Drop the series."""
        for name in self._series:
            self._counter.remove(*self._labels, name)

    def _open(self, name: str) -> Counter:
        return self._series.setdefault(name, self._counter.labels(*self._labels, name))
