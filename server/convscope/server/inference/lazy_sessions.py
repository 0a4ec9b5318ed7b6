"""The sessions of one version that are built on first use, while the requests for them wait."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import structlog

from convscope.server.errors import ShuttingDownError, UnavailableError
from convscope.server.inference.model_runner import Completed
from convscope.server.inference.requests import InferenceRequest
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["LazySession", "explained_session", "feature_map_session"]

log = structlog.get_logger(__name__)

Resume = Callable[[Sequence[InferenceRequest]], None]
Complete = Callable[[Completed], None]


def feature_map_session(
    version: LoadedVersion, resume: Resume, complete: Complete
) -> "LazySession":
    """Return the session with feature maps; see `LazySession`."""
    model = version.model
    return LazySession(
        version,
        "feature_maps",
        lambda: model.has_feature_map_session,
        lambda: model.load_feature_maps(),
        resume,
        complete,
    )


def explained_session(version: LoadedVersion, resume: Resume, complete: Complete) -> "LazySession":
    """Return the session with explanations; see `LazySession`."""
    model = version.model
    return LazySession(
        version,
        "explanations",
        lambda: model.has_explained_session,
        lambda: model.load_explanations(),
        resume,
        complete,
    )


class LazySession:
    """Opens a session on first use, and keeps the requests that need it until then.

    It isn't opened as a part of some batch's run, which would delay other requests.

    Args:
        version: The version.
        name: The name of the session, for the log and traces.
        is_open: Whether the session is open.
        build: Opens it.
        resume: Called with the requests when the session is open.
        complete: Called with the requests that can't have it, and the reason.
    """

    def __init__(
        self,
        version: LoadedVersion,
        name: str,
        is_open: Callable[[], bool],
        build: Callable[[], None],
        resume: Resume,
        complete: Complete,
    ) -> None:
        self._version = version
        self._name = name
        self._is_open = is_open
        self._build = build
        self._resume = resume
        self._complete = complete
        # Its own thread, so that slow builds block nothing else.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="session-builder")
        self._parked: list[InferenceRequest] = []
        self._is_building = False
        self._began = 0.0  # the `perf_counter()` at which the build began
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether requests need not wait."""
        return self._is_open()

    def park(self, request: InferenceRequest) -> None:
        """Keep a request until the session is open; the first one starts to build it."""
        if not self._is_building:
            loop = asyncio.get_running_loop()
            build = loop.run_in_executor(self._thread, self._build)
            build.add_done_callback(self._built)
            self._is_building = True
            self._began = perf_counter()
        self._parked.append(request)
        request.parked = self._parked
        if request.trace is not None:
            request.trace.wait_for_session(self._name)

    def close(self) -> None:
        """Build nothing more; the requests of a build in progress get an error at its end."""
        self._closed = True
        self._thread.shutdown(wait=False)
        del self._resume  # it may hold the owner of this object, and so the model

    def _built(self, build: "asyncio.Future[None]") -> None:
        """Take the requests further; without a session, the next request builds it again."""
        self._is_building = False
        parked, self._parked = self._parked, []
        for request in parked:
            request.parked = None
            if request.trace is not None:
                request.trace.session_opened()
        error = asyncio.CancelledError() if build.cancelled() else build.exception()
        if isinstance(error, OSError):  # the files were removed, and the version will be unloaded
            name, number = self._version.key
            error = UnavailableError(f"the files of {name} v{number} are gone; call again")
        if self._closed:
            error = ShuttingDownError()
        if error is None:
            self._log_opened(len(parked))
            self._resume(parked)
        else:
            self._complete([(request, error) for request in parked])

    def _log_opened(self, waited: int) -> None:
        name, number = self._version.key
        log.info(
            "session opened",
            model=name,
            version=number,
            session=self._name,
            requests_waiting=waited,
            seconds=round(perf_counter() - self._began, 3),
        )
