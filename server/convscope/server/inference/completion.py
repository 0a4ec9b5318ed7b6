"""The end of requests: settled once, and counted as groups."""

import asyncio
from collections.abc import Callable, Sequence
from operator import attrgetter
from time import perf_counter

import grpc

from convscope.server.errors import ServingError
from convscope.server.inference.model_runner import Completed
from convscope.server.inference.observer import Observer
from convscope.server.inference.requests import Finish, InferenceRequest, InferenceResult
from convscope.server.observability.calls import code_of_cancelled
from convscope.server.observability.out_of_memory import callers_error
from convscope.server.observability.stages import StageSeconds

__all__ = ["code_of", "count", "groups", "settle"]

_total = attrgetter("total")


def settle(completed: Completed) -> list[InferenceRequest]:
    """Store the outcomes in their requests; return those that were not done before."""
    requests = []
    for request, outcome in completed:
        if request.done:
            continue
        request.done = True
        if isinstance(outcome, bytes):
            request.reply = outcome
        else:
            request.error = outcome = callers_error(outcome)
            if isinstance(outcome, asyncio.CancelledError):
                request.results = []  # it may still run
            elif isinstance(outcome, ServingError):
                # Its frames refer to the request, which would then be left to the collector.
                outcome.__traceback__ = None
        if request.parked is not None:
            request.parked.remove(request)
            request.parked = None
        requests.append(request)
    return requests


def code_of(error: BaseException | None, deadline: float | None) -> grpc.StatusCode:
    """Return the status code of a request that ended with an error, or without one.

    Args:
        error: The error.
        deadline: The `loop.time()` of its deadline.
    """
    if error is None:
        return grpc.StatusCode.OK
    if isinstance(error, ServingError):
        return error.code
    if isinstance(error, asyncio.CancelledError):
        now = asyncio.get_running_loop().time()
        return code_of_cancelled(None if deadline is None else deadline - now)
    return grpc.StatusCode.INTERNAL


def groups(requests: Sequence[InferenceRequest]) -> list[tuple[Finish, list[InferenceRequest]]]:
    """Group requests by the function that finishes them."""
    found: dict[Finish, list[InferenceRequest]] = {}
    for request in requests:
        found.setdefault(request.finish, []).append(request)
    return list(found.items())


def count(
    requests: Sequence[InferenceRequest], observe: Callable[[tuple[str, int]], Observer]
) -> None:
    """Record settled requests in their calls, traces, and the metrics of their versions."""
    by_version: dict[tuple[str, int], list[InferenceRequest]] = {}
    for request in requests:
        if request.version is not None and not request.untracked:
            by_version.setdefault(request.version.key, []).append(request)
    for key, group in by_version.items():
        answered = [_answered(request) for request in group]
        for request, results in zip(group, answered, strict=True):
            _record(request, results)
        _count_version(group, answered, observe(key))


def _answered(request: InferenceRequest) -> list[InferenceResult]:
    """Return the results of the inputs that have one."""
    return [result for result in request.results if isinstance(result, InferenceResult)]


def _record(request: InferenceRequest, answered: Sequence[InferenceResult]) -> None:
    """Record a request in its call and its trace."""
    record, encoded = request.record, sum(request.encode_seconds)
    if answered:
        record.answered(max([result.seconds for result in answered], key=_total))
    record.failed_inputs += len(request.results) - len(answered)
    if encoded > record.encode_seconds:
        record.encode_seconds = encoded
    if request.trace is not None:
        is_encoded = request.error is None
        request.trace.end(
            request.error, has_results=bool(request.results), encode=encoded if is_encoded else None
        )


def _count_version(
    requests: Sequence[InferenceRequest],
    answered: Sequence[Sequence[InferenceResult]],
    observer: Observer,
) -> None:
    """Count requests of one version by their ends, and observe their inputs."""
    now = perf_counter()
    observer.requests(
        [code_of(request.error, request.deadline) for request in requests],
        [now - request.started_at for request in requests],
        [request.bulk for request in requests],
    )
    ranked = [result for results in answered for result in results if result.classes]
    version = requests[0].version
    if ranked and version is not None:
        labels = version.labels
        observer.predictions(
            [labels[result.classes[0]] for result in ranked],
            [result.scores[0] for result in ranked],
            [result.entropy_ratio for result in ranked if result.entropy_ratio is not None],
        )
    seconds: list[StageSeconds] = []
    encode_seconds: list[float] = []
    for request, results in zip(requests, answered, strict=True):
        if request.error is None:
            seconds += [result.seconds for result in results]
            encode_seconds += request.encode_seconds
    observer.stages(seconds, encode_seconds)
