"""A server that is embedded in an asyncio program, which receives the calls itself."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from convscope.server.app import serve_locally
from convscope.server.config.embedded import embedded_settings, named_as_settings
from convscope.server.errors import StartError
from convscope.server.frontend.transport.in_process import InProcessTransport
from convscope.server.observability.standard_logging import log_to_standard_library
from convscope.server.repository.manager import ModelManager
from convscope.server.runtime.validation.client import BundleValidator
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["EmbeddedServer"]


class EmbeddedServer:
    """The whole server but its listeners, on the running event loop.

    Args:
        models: The repository, a directory or a URL.
        settings: Settings of `convscope-server`, by the names of its flags with underscores.

    Attributes:
        calls: Makes calls of its services.

    Raises:
        StartError: A setting is unknown or invalid.
    """

    def __init__(self, models: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.calls = InProcessTransport()
        self._settings = embedded_settings(models, settings)
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._manager: ModelManager[LoadedVersion] | None = None

    async def start(self) -> None:
        """Load the models.

        Raises:
            StartError: There is no model that can be loaded.
        """
        log_to_standard_library()
        ready: asyncio.Future[ModelManager[LoadedVersion]] = (
            asyncio.get_running_loop().create_future()
        )
        self._serving = asyncio.create_task(
            serve_locally(
                self._settings,
                self._stop,
                ready.set_result,
                transport=self.calls,
                validator=BundleValidator(),
            )
        )
        both: set[asyncio.Future[Any]] = {ready, self._serving}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            try:
                await self._serving
            except StartError as error:
                raise named_as_settings(error) from error
            raise StartError("the server was stopped while it loaded its models")
        self._manager = ready.result()

    @property
    def is_running(self) -> bool:
        """Whether it serves."""
        return self._manager is not None and not (self._serving is None or self._serving.done())

    def has(self, model: str) -> bool:
        """Return whether there is such a model, loaded or not."""
        return self._manager is not None and model in self._manager.catalog.models

    async def unload(self, model: str) -> None:
        """Unload a model that is loaded on demand; the next request for it loads it again."""
        if self._manager is not None:
            await self._manager.unload(model)

    async def stop(self) -> None:
        """End it; no call is in flight any more."""
        self._stop.set()
        if self._serving is not None:
            await self._serving
