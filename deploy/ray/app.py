"""An application of Ray Serve: each replica has the engine of a server in its own process.

Ray's proxies receive the calls with the stubs of `convscope.v1`, so the clients of a server are
those of the application. Ray chooses the replica, bounds and queues the calls, starts and
replaces replicas.
"""

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import ray
from ray import serve

from convscope.bundle.addresses import local_path
from convscope.server.config.embedded import embedded_settings
from convscope.server.embedded import EmbeddedServer
from convscope.server.errors import StartError
from convscope.server.frontend.transport.in_process import Ended

__all__ = ["Classifier", "build"]

_CLASSIFIER = "/convscope.v1.ClassifierService"
# As many as fill the batches of small models while others wait for their reply.
_ONGOING_REQUESTS = 64


def build(arguments: Mapping[str, Any]) -> serve.Application:
    """Return the application.

    Args:
        arguments: `models`, the repository, as an absolute path or a URL; `replicas`, their
            number, by default 1; `models_per_replica`, how many models a replica keeps loaded
            at most, to multiplex them, by default all; and settings of `convscope-server`, by
            the names of its flags with underscores.

    Raises:
        StartError: An argument is missing or invalid.
    """
    settings = dict(arguments)
    models = _absolute(settings.pop("models", None))
    replicas = _positive(settings, "replicas")
    held = _positive(settings, "models_per_replica")
    embedded_settings(models, settings)  # raises here instead of in each replica
    deployment = serve.deployment(
        Classifier,
        **({} if replicas is None else {"num_replicas": replicas}),
        max_ongoing_requests=_ONGOING_REQUESTS,
        ray_actor_options={"num_cpus": 1},
    )
    return deployment.bind(models, settings, held)


class Classifier:
    """One replica: the methods of ClassifierService, and the health check of gRPC.

    Args:
        models: The repository.
        settings: Settings of its server; by default it uses as many cores as Ray reserves.
        models_per_replica: How many models it keeps loaded at most; None loads all at once.
    """

    async def __init__(  # type: ignore[misc] # Ray awaits it
        self, models: str, settings: Mapping[str, Any], models_per_replica: int | None
    ) -> None:
        _log_to_replica()
        own: dict[str, Any] = {"cores": _reserved_cores()}
        if models_per_replica is not None:
            own["load"] = "on-demand"
        self._server = EmbeddedServer(models, {**own, **settings})
        self._hold = _holder(self._server, models_per_replica)
        await self._server.start()

    async def Classify(self, request: Any, grpc_context: Any) -> Any:  # noqa: N802
        """Classify inputs."""
        with_model = await self._hold(request.model)  # until the reply
        reply = await self._unary(f"{_CLASSIFIER}/Classify", request, grpc_context)
        del with_model
        return reply

    async def ClassifyStream(  # noqa: N802
        self, requests: AsyncIterator[Any], grpc_context: Any
    ) -> AsyncIterator[Any]:
        """Handle several requests at once, and reply in their order."""
        metadata, peer = grpc_context.invocation_metadata(), grpc_context.peer()
        path = f"{_CLASSIFIER}/ClassifyStream"
        async for reply in self._server.calls.stream(path, self._held(requests), metadata, peer):
            if not isinstance(reply, Ended):
                yield _Serialized(reply)
            elif reply.code is not grpc.StatusCode.OK:
                _set_status(grpc_context, reply)
                raise RuntimeError(reply.details)  # Ray then sends the status

    async def ListModels(self, request: Any, grpc_context: Any) -> Any:  # noqa: N802
        """List the versions that are ready on this replica."""
        return await self._unary(f"{_CLASSIFIER}/ListModels", request, grpc_context)

    async def GetModel(self, request: Any, grpc_context: Any) -> Any:  # noqa: N802
        """Describe one version in full."""
        with_model = await self._hold(request.model)
        reply = await self._unary(f"{_CLASSIFIER}/GetModel", request, grpc_context)
        del with_model
        return reply

    async def GetServerInfo(self, request: Any, grpc_context: Any) -> Any:  # noqa: N802
        """Return the version and limits of the replicas."""
        return await self._unary(f"{_CLASSIFIER}/GetServerInfo", request, grpc_context)

    async def Check(self, request: Any, grpc_context: Any) -> Any:  # noqa: N802
        """Return the health of this replica, or of one of its models."""
        return await self._unary("/grpc.health.v1.Health/Check", request, grpc_context)

    def check_health(self) -> None:
        """Called by Ray, which replaces a replica whose check fails.

        Raises:
            RuntimeError: The server has ended.
        """
        if not self._server.is_running:
            raise RuntimeError("the server of this replica has ended; its log says why")

    async def __del__(self) -> None:
        """Called by Ray when the replica has answered its last call."""
        await self._server.stop()

    async def _held(self, requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        """Serialize the messages of a stream, and hold the model of each until the next."""
        with_model = None
        async for request in requests:
            with_model = await self._hold(request.request.model)
            yield request.SerializeToString()
        del with_model

    async def _unary(self, path: str, request: Any, grpc_context: Any) -> "_Serialized":
        ended = await self._server.calls.unary(
            path,
            request.SerializeToString(),
            grpc_context.invocation_metadata(),
            grpc_context.peer(),
        )
        _set_status(grpc_context, ended)
        return _Serialized(ended.message)


class _Serialized:
    """A reply that is serialized already.

    Args:
        message: Its bytes.
    """

    def __init__(self, message: bytes) -> None:
        self._message = message

    def SerializeToString(self) -> bytes:  # noqa: N802
        """Return its bytes, as a message of protobuf does."""
        return self._message


class _Held:
    """A model that a replica keeps loaded, as long as this object exists."""


def _holder(server: EmbeddedServer, count: int | None) -> Callable[[str], Awaitable[_Held | None]]:
    """Return what keeps a model loaded, and tells Ray that this replica has it.

    Ray sends the calls for a model to the replicas that have it. It drops the model that was
    used the longest time ago, which is unloaded after its last call.

    Args:
        server: Loads and unloads.
        count: How many models it keeps; None for all.
    """

    async def hold_all(model: str) -> None:
        """Keep every model."""

    if count is None:
        return hold_all
    loop, unloading = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    # One for each model: one that is collected must not unload a model that another one holds.
    current = weakref.WeakValueDictionary[str, _Held]()

    async def unload(model: str) -> None:
        if model not in current:  # it may be held again since
            await server.unload(model)

    def start_unloading(model: str) -> None:
        task = loop.create_task(unload(model))
        unloading.add(task)
        task.add_done_callback(unloading.discard)

    async def hold(model: str) -> _Held:
        held = current.get(model)
        if held is None:
            held = current[model] = _Held()
            finalizer = weakref.finalize(held, loop.call_soon_threadsafe, start_unloading, model)
            finalizer.atexit = False
        return held

    multiplexed = serve.multiplexed(hold, max_num_models_per_replica=count)

    async def hold_known(model: str) -> _Held | None:
        # An unknown name must not unload another model.
        return await multiplexed(model) if server.has(model) else None

    return hold_known


def _set_status(grpc_context: Any, ended: Ended) -> None:
    """Send how a call ended."""
    if ended.code is not grpc.StatusCode.OK:
        grpc_context.set_code(ended.code)
        grpc_context.set_details(ended.details)
    if ended.trailing:
        grpc_context.set_trailing_metadata(list(ended.trailing))


def _reserved_cores() -> int:
    """Return how many cores Ray reserves for this replica, which are at least one."""
    resources = ray.get_runtime_context().get_assigned_resources()
    return max(1, int(resources.get("CPU", 1)))


def _log_to_replica() -> None:
    """Write the server's log to that of the replica."""
    ours, rays = logging.getLogger("convscope.server"), logging.getLogger("ray.serve")
    ours.setLevel(rays.level)
    for handler in rays.handlers:
        ours.addHandler(handler)
    ours.propagate = False


def _absolute(models: Any) -> str:
    """Check where the repository is.

    Raises:
        StartError: It isn't the same place for all replicas.
    """
    if not (isinstance(models, str) and models):
        raise StartError("no repository is given; give models, an absolute path or a URL")
    path = local_path(models)
    if path is not None and not path.is_absolute():
        raise StartError(
            f"models is {models!r}, and the replicas have other working directories; give an "
            "absolute path, or a URL"
        )
    return models


def _positive(settings: dict[str, Any], name: str) -> int | None:
    """Take a number from the arguments, which is text if it comes from a command.

    Raises:
        StartError: It is no positive integer.
    """
    value = settings.pop(name, None)
    if value is None:
        return None
    if str(value).isdecimal() and int(value) > 0:
        return int(value)
    raise StartError(f"{name} is {value!r}; give a positive integer, or leave it out")
