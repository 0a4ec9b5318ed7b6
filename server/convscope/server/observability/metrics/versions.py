"""The metrics of one version of a model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import time

import grpc
from prometheus_client import Counter

from convscope.server.observability.metrics.codes import CodeCounter, tally
from convscope.server.observability.metrics.families import (
    PRIORITIES,
    SESSIONS,
    STAGES,
    Scope,
)
from convscope.server.observability.metrics.series import Families, Series
from convscope.server.observability.metrics.totals import Total, VersionTotals
from convscope.server.observability.stages import StageSeconds

__all__ = ["MAX_CLASSES", "PredictedClasses", "VersionMetrics"]

# Series of one version's predicted classes.
MAX_CLASSES = 100
OTHER_CLASSES = "other"


class VersionMetrics:
    """The metrics of one version, with every label looked up once; an observer of the engine."""

    def __init__(self, families: Families, model: str, version: str) -> None:
        self._series = series = Series(families, Scope.VERSION, model, version)
        self._predicted = PredictedClasses(
            lambda name: series.counter("convscope_predicted_classes", name)
        )
        self._top1 = series.histogram("convscope_top1_probability")
        self._entropy = series.histogram("convscope_prediction_entropy_ratio")
        self._requests = CodeCounter(lambda code: series.counter("convscope_requests", code.name))
        self._stages = {s: series.histogram("convscope_stage_seconds", s) for s in STAGES}
        self._decode, self._queue, self._infer, self._encode = self._stages.values()
        self._failed = Total()
        self._last_success_at = 0.0
        self._batch = series.histogram("convscope_batch_images")
        self._interactive, self._bulk = (
            series.histogram("convscope_request_seconds", priority) for priority in PRIORITIES
        )
        self._waiting = series.gauge("convscope_queue_images")
        self._fill_ratio = series.gauge("convscope_queue_fill_ratio")
        self._running = series.gauge("convscope_batches_running")
        self._sessions = {name: series.gauge("convscope_session_open", name) for name in SESSIONS}
        self._session_bytes = series.gauge("convscope_session_memory_bytes")

    def stages(self, seconds: Sequence[StageSeconds], encode_seconds: Sequence[float]) -> None:
        """Observe all stages of answered inputs.

        They are observed together, when their requests end: at any moment each
        stage has the same number of observations.
        """
        self._decode.observe_all([one.decode for one in seconds])
        self._queue.observe_all([one.queue for one in seconds])
        self._infer.observe_all([one.infer for one in seconds])
        self._encode.observe_all(encode_seconds)

    def predictions(
        self, best: Sequence[str], probabilities: Sequence[float], entropy_ratios: Sequence[float]
    ) -> None:
        """Observe the results of some inputs: the best class of each and its probability."""
        for name, amount in tally(best).items():
            self._predicted.count(name, amount)
        self._top1.observe_all(probabilities)
        self._entropy.observe_all(entropy_ratios)

    def requests(
        self, codes: Sequence[grpc.StatusCode], seconds: Sequence[float], bulk: Sequence[bool]
    ) -> None:
        """Count requests that ended, and observe how long they took if they were answered.

        Args:
            codes: How they ended.
            seconds: How long they took.
            bulk: Whether they had to wait for the interactive ones.
        """
        for code, amount in tally(codes).items():
            self._requests.count(code, amount)
        # Requests that are rejected at once would make an overload look fast.
        answered: tuple[list[float], list[float]] = ([], [])
        for code, value, is_bulk in zip(codes, seconds, bulk, strict=True):
            if code is grpc.StatusCode.OK:
                answered[is_bulk].append(value)
            else:
                self._failed.add(value)
        if any(answered):
            self._last_success_at = time()
            self._interactive.observe_all(answered[False])
            self._bulk.observe_all(answered[True])

    def totals(self) -> VersionTotals:
        """Return what was counted so far."""
        stages = {name: Total(s.count, s.total) for name, s in self._stages.items()}
        answered = (self._interactive, self._bulk)
        return VersionTotals(
            Total(sum(s.count for s in answered), sum(s.total for s in answered)),
            replace(self._failed),
            stages,
            self._batch.count,
            self._last_success_at,
        )

    def batch(self, images: int) -> None:
        """Observe the size of a batch."""
        self._batch.observe(images)

    def load(
        self,
        waiting: Callable[[], int],
        fill_ratio: Callable[[], float],
        running: Callable[[], int],
    ) -> None:
        """Set the functions that each scrape calls.

        Args:
            waiting: Returns the number of images that wait.
            fill_ratio: Returns how full the fullest queue is.
            running: Returns the number of batches that run.
        """
        self._waiting.set_function(waiting)
        self._fill_ratio.set_function(fill_ratio)
        self._running.set_function(running)

    def sessions(
        self,
        feature_maps: Callable[[], bool],
        explanations: Callable[[], bool],
        memory_bytes: Callable[[], int],
    ) -> None:
        """Set the functions that each scrape calls.

        Args:
            feature_maps: Returns whether the session with feature maps is open.
            explanations: Returns whether the session with explanations is open.
            memory_bytes: Returns the estimated memory of all open sessions.
        """
        self._sessions["feature_maps"].set_function(feature_maps)
        self._sessions["explanations"].set_function(explanations)
        self._session_bytes.set_function(memory_bytes)

    def gone(self) -> None:
        """Stop calling these functions."""
        self.load(lambda: 0, lambda: 0.0, lambda: 0)
        self.sessions(lambda: False, lambda: False, lambda: 0)

    def forget(self) -> None:
        """Remove the series."""
        self._series.remove()


class PredictedClasses:
    """Counts the best classes of one version.

    The first classes to be predicted have series of their own, up to a bound;
    the rest share one, so that a model of thousands of classes stays readable.

    Args:
        look_up: Returns the counter of a class.
    """

    def __init__(self, look_up: Callable[[str], Counter]) -> None:
        self._look_up = look_up
        self._series: dict[str, Counter] = {}

    def count(self, name: str, amount: int = 1) -> None:
        """Count predictions of the class with this name."""
        series = self._series.get(name)
        if series is None:
            series = self._open(name if len(self._series) < MAX_CLASSES else OTHER_CLASSES)
        series.inc(amount)

    def _open(self, name: str) -> Counter:
        return self._series.setdefault(name, self._look_up(name))
