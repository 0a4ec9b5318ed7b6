"""A server in a thread of this process, for `Client.local`.

It is the whole server on a Unix socket that only this user can open, so that its results are
those of a served model. Bundles are checked in this process too, without the limits of a
process of their own: a local server is for models that its user trusts.
"""

import asyncio
import logging
import os
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import structlog
import uvloop

from convscope.bundle.suggestions import or_near
from convscope.server.app import serve_locally
from convscope.server.config.flags import FLAGS, PANELS
from convscope.server.config.settings import Settings
from convscope.server.errors import StartError
from convscope.server.process.unix_sockets import private_directory

__all__ = ["LocalServer", "StartError"]

# Messages name flags, which are the keys of `settings` here.
_FLAG = re.compile(r"--(load|versions|provider|max-memory-mb)\b")
# The first argument of `Client.local`: its value speaks for itself.
_MODELS = re.compile(r"--models (?=\S)")
_PANELS = ("Repository", "ONNX Runtime", "Limits")
_SETTINGS = {flag.name for panel in _PANELS for flag in PANELS[panel]} - {"models"}
_GRACE_SECONDS = 5.0
# The first start of a model isn't delayed by measurements, which only pay for a long run.
_DEFAULTS = {
    "no_tuning": True,
    "no_access_log": True,
    "no_open_inference": True,
    "no_reflection": True,
    "drain_seconds": 0.0,
    "grace_seconds": _GRACE_SECONDS,
}


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
        values = _DEFAULTS | _checked(settings) | {"models": _expanded(os.fspath(models))}
        _log_quietly()
        directory = private_directory()
        self.target = f"unix:{directory / 'server'}"
        values["grpc_address"] = self.target
        running = _Running(Settings.from_values(values))
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
            message = _FLAG.sub(_setting, _MODELS.sub("", str(self._error)))
            raise StartError(message) from self._error
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

    def _loaded(self, models: Sequence[str]) -> None:
        self.models = models
        self._ready.set()


def _close(running: _Running, directory: Path, process: int) -> None:
    if process == os.getpid():  # and not in a forked process, which has no such thread
        running.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _setting(flag: re.Match[str]) -> str:
    return flag[1].replace("-", "_")


def _expanded(models: str) -> str:
    return str(Path(models).expanduser()) if models.startswith("~") else models


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in the types of their flags."""
    checked = {}
    for name, value in settings.items():
        if name not in _SETTINGS:
            raise StartError(
                f"there is no setting {name!r} of a local server{or_near(name, _SETTINGS)}"
            )
        try:
            checked[name] = FLAGS[name].type.convert(value, None, None)
        except click.BadParameter as error:
            raise StartError(f"the setting {name} is {value!r}: {error.message}") from error
    return checked


def _log_quietly() -> None:
    """Pass log lines to the logger "convscope.server" of the standard library.

    They are shown if the application configures logging, and otherwise not. An application that
    configures structlog decides itself.
    """
    logging.getLogger("convscope.server").addHandler(logging.NullHandler())
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.stdlib.PositionalArgumentsFormatter(),
                structlog.processors.format_exc_info,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
        )
