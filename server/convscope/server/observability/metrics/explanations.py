"""The metrics of one version's explanations, which exist from the first request for some."""

from collections.abc import Sequence
from typing import Literal

import grpc

from convscope.server.observability.metrics.codes import CodeCounter
from convscope.server.observability.metrics.families import (
    EXPLANATION_METHODS,
    EXPLANATION_RUNS,
    Scope,
)
from convscope.server.observability.metrics.series import Families, Series

__all__ = ["ExplanationMetrics"]


class ExplanationMetrics:
    """The metrics of one version's explanations, with every label looked up once."""

    def __init__(self, families: Families, model: str, version: str) -> None:
        self._series = series = Series(families, Scope.EXPLANATIONS, model, version)
        self._requests = CodeCounter(
            lambda code: series.counter("convscope_explained_requests", code.name)
        )
        self._explanations = {
            method: series.counter("convscope_explanations", method)
            for method in EXPLANATION_METHODS
        }
        self._seconds = {
            run: series.histogram("convscope_explained_infer_seconds", run)
            for run in EXPLANATION_RUNS
        }
        self._occluded = series.counter("convscope_occluded_images")

    def request(self, code: grpc.StatusCode) -> None:
        """Count a request by how it ended."""
        self._requests.count(code)

    def answered(
        self,
        methods: Sequence[str],
        run: Literal["heat", "occlusion"],
        infer_seconds: Sequence[float],
    ) -> None:
        """Count the explanations in a reply.

        Args:
            methods: The methods of the explanations of each input.
            run: "occlusion" if at least one of them is.
            infer_seconds: The seconds that each input with a result spent in its runs.
        """
        for method in methods:
            self._explanations[method].inc(len(infer_seconds))
        self._seconds[run].observe_all(infer_seconds)

    def occluded(self, images: int) -> None:
        """Count images with a square that ran, also for requests that failed later."""
        self._occluded.inc(images)

    def forget(self) -> None:
        """Remove the series."""
        self._series.remove()
