"""What every frontend does with a request: find its version, run it, count it.

A frontend (a gRPC service) converts messages to inputs and a request, and
results back to messages. Everything in between exists once, here.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from time import perf_counter
from types import TracebackType

import grpc

from convscope.server.errors import (
    BundleRejectedError,
    InvalidInputError,
    ServingError,
)
from convscope.server.inference.engine import Engine
from convscope.server.inference.requests import InferenceRequest, InferenceResult, Input
from convscope.server.inference.shadow import ShadowTraffic
from convscope.server.observability.calls import current_call
from convscope.server.observability.metrics import Metrics, VersionMetrics
from convscope.server.repository.catalog import Catalog, NotLoadedError, Target
from convscope.server.repository.manager import ModelManager
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["InferenceHandler"]


class InferenceHandler:
    """Finds the versions that answer, hands requests to the engine, and counts them.

    Args:
        manager: Knows which version serves, and loads versions on demand.
        engine: Runs the inputs.
        metrics: Hears how each request ended.
        max_inputs: Inputs of one request.
        cores: The cores that requests and their copies share.
    """

    def __init__(
        self,
        manager: ModelManager[LoadedVersion],
        engine: Engine,
        metrics: Metrics,
        *,
        max_inputs: int,
        cores: int,
    ) -> None:
        self._manager = manager
        self._engine = engine
        self._metrics = metrics
        self._max_inputs = max_inputs
        self._shadow_traffic = ShadowTraffic(
            self._find_for_shadow, engine, metrics.shadow, cores=cores
        )

    @property
    def max_inputs(self) -> int:
        """How many inputs a request may have."""
        return self._max_inputs

    @property
    def catalog(self) -> Catalog[LoadedVersion]:
        """What serves now."""
        return self._manager.catalog

    async def find(self, target: Target) -> LoadedVersion:
        """Return the version that a target names, loaded on demand.

        Raises:
            InvalidInputError: The target names no model.
            NotFoundError: There is no such model, version or alias.
            UnavailableError: It exists, and is not ready.
            BundleRejectedError: It failed a check when it was loaded.
        """
        return await self._resolve(target)

    async def route(self, target: Target) -> LoadedVersion:
        """Return the version that serves a request: the one that it names, or the canary.

        The version may retire as soon as another coroutine runs, so pass it to
        `run` without an await in between. Raises the errors of `find`.
        """
        version = await self._resolve(target, canary=True)
        current_call.get().version = version.key
        return version

    async def _find_for_shadow(self, target: Target) -> LoadedVersion:
        """Return the version that a target names, but unload none to make room for it."""
        return await self._resolve(target, evict=False)

    async def _resolve(
        self, target: Target, *, canary: bool = False, evict: bool = True
    ) -> LoadedVersion:
        """Resolve a target, and load its version on demand.

        If the version is rejected, the next one is loaded, unless the request
        names its version.
        """
        if not target.model:
            known = ", ".join(self.catalog.models)
            raise InvalidInputError(f"the request names no model; this server has: {known}")
        while True:
            try:
                return self.catalog.resolve(target, canary=canary)
            except NotLoadedError as error:
                missing = error
            load = self._manager.load_on_demand(missing.model, missing.version, evict=evict)
            try:
                # Others may wait for the same load, so it goes on when one of them leaves.
                await asyncio.shield(load)
            except BundleRejectedError:
                if missing.is_named:
                    raise

    def counted(self, version: LoadedVersion, deadline: float | None, *, bulk: bool) -> "_Counted":
        """Count the request that is answered within the context, by how it ends.

        Args:
            version: The version that answers.
            deadline: The `loop.time()` after which nobody waits for the answer.
            bulk: Whether the request waits for the interactive ones.
        """
        trace = current_call.get().trace
        span = None if trace is None else trace.request(version.key)
        return _Counted(self._metrics.of(version), deadline, bulk, span)

    def admit(self, inputs: int) -> None:
        """Take note of a request's number of inputs.

        Raises:
            InvalidInputError: There are none, or too many.
        """
        current_call.get().inputs += inputs
        if inputs == 0:
            raise InvalidInputError("the request has no inputs; send at least one")
        if inputs > self._max_inputs:
            raise InvalidInputError(
                f"the request has {inputs} inputs; at most {self._max_inputs} are taken; split it"
            )

    async def run(
        self,
        target: Target,
        version: LoadedVersion,
        inputs: Sequence[Input],
        question: InferenceRequest,
    ) -> list[InferenceResult | ServingError]:
        """Answer each input, or say why not; give a copy to the shadow, if there is one.

        Args:
            target: What the request names.
            version: What `route` found for it.
            inputs: What is to be answered.
            question: What is wanted of each input.

        Raises:
            OverloadedError: A queue is full.
            DeadlineError: The deadline passed before an input was run, or will
                have passed before it could be.
            UnavailableError: The server is closing.
        """
        answers = await self._run(version, inputs, question)
        shadow = self.catalog.shadow(target, version)
        if shadow is not None:
            self._shadow_traffic.copy(version, shadow, inputs, answers)
        return answers

    async def _run(
        self, version: LoadedVersion, inputs: Sequence[Input], question: InferenceRequest
    ) -> list[InferenceResult | ServingError]:
        """Have the engine answer, and take note of how long the stages took."""
        record = current_call.get()
        if record.trace is None:
            answers = await self._engine.run(version, inputs, question)
        else:
            with record.trace.stages(version.key, len(inputs)) as trace:
                answers = await self._engine.run(version, inputs, replace(question, trace=trace))
        for answer in answers:
            if isinstance(answer, InferenceResult):
                record.answered(answer.seconds)
        return answers

    def encoded(self, version: LoadedVersion, seconds: Sequence[float]) -> None:
        """Take note of a reply that was encoded just now, and how long each of its inputs took."""
        metrics = self._metrics.of(version)
        for one in seconds:
            metrics.encode(one)
        record, total = current_call.get(), sum(seconds)
        record.encode_seconds = max(record.encode_seconds, total)
        if record.trace is not None:
            record.trace.encoded(total)

    async def close(self) -> None:
        """Give up the copies that wait for their turn."""
        await self._shadow_traffic.close()


class _Counted:
    """Counts one request of a version, however it ends; a class, for a generator costs more."""

    __slots__ = ("_bulk", "_deadline", "_metrics", "_span", "_started_at")

    def __init__(
        self,
        metrics: VersionMetrics,
        deadline: float | None,
        bulk: bool,
        span: AbstractContextManager[object] | None,
    ) -> None:
        self._metrics = metrics
        self._deadline = deadline
        self._bulk = bulk
        self._span = span

    def __enter__(self) -> None:
        self._started_at = perf_counter()
        if self._span is not None:
            self._span.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = perf_counter() - self._started_at
        self._metrics.request(self._code(error), seconds, bulk=self._bulk)
        if self._span is not None:
            self._span.__exit__(kind, error, traceback)

    def _code(self, error: BaseException | None) -> grpc.StatusCode:
        if error is None:
            return grpc.StatusCode.OK
        if isinstance(error, ServingError):
            return error.code
        if isinstance(error, asyncio.CancelledError):
            late = self._deadline is not None and (
                asyncio.get_running_loop().time() >= self._deadline
            )
            return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
        return grpc.StatusCode.INTERNAL
