"""The path of every request behind its frontend: find its version, run it, count it.

A frontend (a gRPC service) converts messages to inputs and an inference request,
and results to messages. Everything in between exists once, in this module.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from convscope.server.errors import BundleRejectedError, InvalidInputError, ServingError
from convscope.server.inference.counting import CountedRequest
from convscope.server.inference.engine import Engine
from convscope.server.inference.requests import InferenceRequest, InferenceResult, Input
from convscope.server.inference.shadow import ShadowTraffic
from convscope.server.observability.calls import current_call
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Catalog, NotLoadedError, Target
from convscope.server.repository.manager import ModelManager
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["InferenceHandler"]


class InferenceHandler:
    """Finds the version of a request, passes the request to the engine, and counts it.

    Args:
        manager: Knows which version serves, and loads versions on demand.
        engine: Runs the inputs.
        metrics: Counts how each request ended.
        max_inputs: Inputs of one request.
        cores: The cores that requests and their shadow copies share.
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

    def counted(
        self, version: LoadedVersion, deadline: float | None, *, bulk: bool
    ) -> CountedRequest:
        """Return a context manager that counts one request by how it ends.

        Args:
            version: The version that runs it.
            deadline: The `loop.time()` after which the caller no longer waits.
            bulk: Whether all interactive requests run first.
        """
        trace = current_call.get().trace
        span = None if trace is None else trace.request(version.key)
        return CountedRequest(self._metrics.of(version.key), deadline, bulk, span)

    def admit(self, inputs: int) -> None:
        """Record a request's number of inputs, and check it.

        Raises:
            InvalidInputError: The request has none, or too many.
        """
        current_call.get().inputs += inputs
        if inputs == 0:
            raise InvalidInputError("the request has no inputs; send at least one")
        if inputs > self._max_inputs:
            raise InvalidInputError(
                f"the request has {inputs} inputs; "
                f"at most {self._max_inputs} are accepted; split it"
            )

    async def run(
        self,
        target: Target,
        version: LoadedVersion,
        inputs: Sequence[Input],
        request: InferenceRequest,
    ) -> list[InferenceResult | ServingError]:
        """Return a result or an error for each input.

        If the version has a shadow, the shadow receives a copy.

        Args:
            target: What the request names.
            version: The version that was found for it.
            inputs: The inputs.
            request: What is computed for each input.

        Raises:
            OverloadedError: A queue is full.
            DeadlineError: The deadline passed before an input was run, or would
                pass before it could be.
            UnavailableError: The server is closing.
        """
        results = await self._run(version, inputs, request)
        shadow = self.catalog.shadow(target, version)
        if shadow is not None:
            self._shadow_traffic.copy(version, shadow, inputs, results)
        return results

    async def _run(
        self, version: LoadedVersion, inputs: Sequence[Input], request: InferenceRequest
    ) -> list[InferenceResult | ServingError]:
        """Run the inputs on the engine, and record how long the stages took."""
        record = current_call.get()
        if record.trace is None:
            results = await self._engine.run(version, inputs, request)
        else:
            with record.trace.stages(version.key, len(inputs)) as trace:
                results = await self._engine.run(version, inputs, replace(request, trace=trace))
        for result in results:
            if isinstance(result, InferenceResult):
                record.answered(result.seconds)
        return results

    def encoded(
        self,
        version: LoadedVersion,
        outcomes: Sequence[InferenceResult | ServingError],
        seconds: Sequence[float],
    ) -> None:
        """Record all stages of a request whose reply was just encoded.

        The caller returns the reply without another await, so that the request and
        its stages are counted at the same moment.

        Args:
            version: The version that ran the request.
            outcomes: The result or the error of each input.
            seconds: How long encoding each of the results took.
        """
        metrics = self._metrics.of(version.key)
        results = [outcome for outcome in outcomes if isinstance(outcome, InferenceResult)]
        for result, encode_seconds in zip(results, seconds, strict=True):
            metrics.stages(result.seconds, encode_seconds)
        record, total = current_call.get(), sum(seconds)
        record.encode_seconds = max(record.encode_seconds, total)
        if record.trace is not None:
            record.trace.encoded(total)

    async def close(self) -> None:
        """Drop the shadow copies that wait or run."""
        await self._shadow_traffic.close()
