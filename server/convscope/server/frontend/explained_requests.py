"""Counts the requests for explanations. Requests without explanations never come here."""

from collections.abc import Callable, Sequence
from functools import partial

import structlog

from convscope.server.inference.completion import code_of
from convscope.server.inference.explanations import OccludedResult
from convscope.server.inference.requests import Finish, InferenceRequest, InferenceResult
from convscope.server.observability.metrics import ExplanationMetrics

__all__ = ["ExplainedRequests"]

log = structlog.get_logger(__name__)


class ExplainedRequests:
    """Counts requests for explanations when they end.

    Args:
        metrics: Returns the metrics of the explanations of a version, by its model and number.
    """

    def __init__(self, metrics: Callable[[tuple[str, int]], ExplanationMetrics]) -> None:
        self._metrics = metrics

    def follow(self, request: InferenceRequest) -> None:
        """Count a request that has its version, when it ends."""
        request.finish = partial(self._finish, request.finish)

    def _finish(self, finish: Finish, requests: Sequence[InferenceRequest]) -> None:
        try:
            for request in requests:
                self._count(request)
        except Exception:  # whatever fails, the callers get their replies
            log.exception("unexpected error while counting explanations")
        finish(requests)

    def _count(self, request: InferenceRequest) -> None:
        metrics, plan = self._metrics(request.loaded.key), request.explanation
        metrics.request(code_of(request.error, request.deadline))
        if plan is None:  # its selection was rejected
            return
        if plan.grids and request.partial is not None:
            metrics.occluded(sum(isinstance(one, OccludedResult) for one in request.partial))
        if request.error is None:
            results = [one for one in request.results if isinstance(one, InferenceResult)]
            seconds = [result.seconds.infer for result in results]
            metrics.answered(plan.methods, "occlusion" if plan.grids else "heat", seconds)
