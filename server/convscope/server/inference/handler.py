"""The path of every request behind its frontend: find its version, prepare it, run it.

A frontend (a gRPC service) converts messages to requests, and results to replies.
Everything in between exists once, in this folder.
"""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from convscope.server.errors import BundleRejectedError, InvalidInputError, NoModelError
from convscope.server.inference.engine import Engine
from convscope.server.inference.model_runner import Completed
from convscope.server.inference.on_demand import OnDemandLoads
from convscope.server.inference.requests import InferenceRequest
from convscope.server.inference.shadow import ShadowTraffic
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Catalog, NotLoadedError, Target
from convscope.server.repository.manager import ModelManager
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["InferenceHandler"]


class InferenceHandler:
    """Finds the versions of requests, and passes the requests to the engine.

    Args:
        manager: Knows which version serves, and loads versions on demand.
        engine: Runs the inputs.
        metrics: Counts what shadows return.
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
        self._max_inputs = max_inputs
        self._loads = OnDemandLoads(
            lambda model, version: manager.load_on_demand(model, version),
            self.serve,
            engine.complete,
        )
        self._shadow_traffic = ShadowTraffic(
            self._find_for_shadow, engine, metrics.shadow, cores=cores
        )
        engine.on_results = self._copy_to_shadows

    @property
    def max_inputs(self) -> int:
        """How many inputs a request may have."""
        return self._max_inputs

    @property
    def catalog(self) -> Catalog[LoadedVersion]:
        """What serves now."""
        return self._manager.catalog

    def serve(self, requests: Sequence[InferenceRequest]) -> None:
        """Take a group of requests; each of them is completed exactly once, now or later."""
        groups: dict[LoadedVersion, list[InferenceRequest]] = {}
        ended: Completed = []
        now = perf_counter()
        for request in requests:
            try:
                version = self._route(request)
                request.version, request.started_at = version, now
                request.record.version = version.key
                if request.record.trace is not None:
                    request.trace = request.record.trace.request(version.key)
                request.endpoint.prepare(request)
            except NotLoadedError as missing:
                self._loads.park(request, missing)
            except Exception as error:  # noqa: BLE001 - the caller receives it
                ended.append((request, error))
            else:
                groups.setdefault(version, []).append(request)
        for version, group in groups.items():
            try:
                self._engine.submit(version, group)
            except Exception as error:  # noqa: BLE001 - the callers receive it
                ended += [(request, error) for request in group]
        if ended:
            self._engine.complete(ended)

    def cancel(self, request: InferenceRequest) -> None:
        """Complete a request whose caller has left; a part of it that runs is finished."""
        self._engine.cancel(request)

    def _route(self, request: InferenceRequest) -> LoadedVersion:
        """Return the version that serves a request: the one that it names, or the canary."""
        target = request.target
        if target is None or not target.model:
            raise self._no_model()
        return self.catalog.resolve(target, canary=True)

    async def find(self, target: Target, *, evict: bool = True) -> LoadedVersion:
        """Return the version that a target names, loaded on demand.

        If the version is rejected, the next one is loaded, unless the request
        names its version.

        Args:
            target: What a request names.
            evict: Whether others may be unloaded to make room for it.

        Raises:
            InvalidInputError: The target names no model.
            NotFoundError: There is no such model, version or alias.
            UnavailableError: It exists, and is not ready.
            BundleRejectedError: It failed a check when it was loaded.
        """
        if not target.model:
            raise self._no_model()
        while True:
            try:
                return self.catalog.resolve(target)
            except NotLoadedError as error:
                missing = error
            load = self._manager.load_on_demand(missing.model, missing.version, evict=evict)
            try:
                # Others may wait for the same load, so it goes on when one of them leaves.
                await asyncio.shield(load)
            except BundleRejectedError:
                if missing.is_named:
                    raise

    async def _find_for_shadow(self, target: Target) -> LoadedVersion:
        return await self.find(target, evict=False)

    def _no_model(self) -> NoModelError:
        return NoModelError("the request names no model", self.catalog.models)

    def admit(self, request: InferenceRequest, inputs: int) -> None:
        """Record a request's number of inputs, and check it.

        Raises:
            InvalidInputError: The request has none, or too many.
            CallerLimitError: Its caller is over its images per second.
        """
        request.record.inputs += inputs
        if inputs == 0:
            raise InvalidInputError("the request has no inputs; send at least one")
        if inputs > self._max_inputs:
            raise InvalidInputError(
                f"the request has {inputs} inputs; "
                f"at most {self._max_inputs} are accepted; split it"
            )
        if request.record.caller is not None:
            request.record.caller.take_images(inputs)

    def _copy_to_shadows(self, requests: Sequence[InferenceRequest]) -> None:
        """Copy requests that have results to the shadow of their version, if it has one."""
        for request in requests:
            target, version = request.target, request.version
            if not request.results or target is None or version is None:
                continue
            shadow = self.catalog.shadow(target, version)
            if shadow is not None:
                self._shadow_traffic.copy(
                    version, shadow, request.inputs, request.results, request.record.request_id
                )

    async def close(self) -> None:
        """Reject the requests that wait for a load, and drop the shadow copies."""
        await self._loads.close()
        await self._shadow_traffic.close()
