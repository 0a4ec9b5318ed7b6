"""A server in a thread of this process, for `Client.local`.

It is the whole server on a Unix socket that only this user can open, so that its results are
those of a served model. Bundles are checked in this process too, without the limits of a
process of their own: a local server is for models that its user trusts.
"""

import asyncio
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from convscope.server.app import serve_locally
from convscope.server.config.embedded import embedded_settings, named_as_settings
from convscope.server.config.settings import Settings
from convscope.server.errors import StartError
from convscope.server.observability.standard_logging import log_to_standard_library
from convscope.server.process.unix_sockets import private_directory
from convscope.server.repository.manager import ModelManager
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["LocalServer", "StartError"]


class LocalServer:
    """A running server; the models are loaded when it is made.

    Args:
        models: The repository, a directory or a URL.
        settings: Settings of `convscope-server`, by the names of its flags with underscores.

    Attributes:
        target: Its address.
        models: The names of its models.

    Raises:
        StartError: There is no model that can be loaded, or a setting is invalid.
    """

    def __init__(self, models: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        checked = embedded_settings(models, settings)
        log_to_standard_library()
        directory = private_directory()
        self.target = f"unix:{directory / 'server'}"
        frontend = replace(checked.frontend, grpc_address=self.target)
        running = _Running(replace(checked, frontend=frontend))
        # Also at the exit of the process, before threads are ended.
        self._close = weakref.finalize(self, _close, running, directory, os.getpid())
        try:
            running.start()
        except BaseException:
            self._close()
            raise
        self.models = running.models

    def close(self) -> None:
        """Finish the calls in flight, and end the thread."""
        self._close()


class _Running:
    """The thread of a server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread = threading.Thread(target=self._run, name="convscope-local", daemon=True)
        self._begun, self._ready = threading.Event(), threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._error: BaseException | None = None
        self.models: Sequence[str] = ()

    def start(self) -> None:
        """Start the thread, and wait until the models are loaded."""
        self._thread.start()
        self._ready.wait()
        if isinstance(self._error, StartError):
            raise named_as_settings(self._error) from self._error
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread."""
        if self._thread.is_alive():
            self._begun.wait()
            self._stop()
            self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
            self._error = error
        finally:
            self._begun.set()
            self._ready.set()

    async def _serve(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        self._begun.set()
        await serve_locally(self._settings, stop, self._loaded)

    def _loaded(self, manager: ModelManager[LoadedVersion]) -> None:
        self.models = manager.catalog.models
        self._ready.set()


def _close(running: _Running, directory: Path, process: int) -> None:
    if process == os.getpid():  # and not in a forked process, which has no such thread
        running.stop()
        shutil.rmtree(directory, ignore_errors=True)
