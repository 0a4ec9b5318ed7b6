"""The effects of a plan: loading, swapping and retiring versions, and reporting about them."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic

import structlog

from convscope.server.errors import BundleRejectedError
from convscope.server.repository.catalog import Catalog
from convscope.server.repository.lifecycle import LifecycleListener
from convscope.server.repository.loader import Loader, V
from convscope.server.repository.memory import MemoryBudget, graph_bytes
from convscope.server.repository.plan import Action, Forget, Load, Retire, Retry, Route
from convscope.server.repository.rejection import Rejection
from convscope.server.repository.remote.threads import in_daemon_thread
from convscope.server.repository.scan import Signature
from convscope.server.repository.state import Attempt, Routing

__all__ = ["LOADING", "Executor", "Loading"]

log = structlog.get_logger(__name__)

# The name of the threads that load.
LOADING = "loading"
# A version that was loaded on demand stays at least this long after its last
# use: otherwise two models could evict each other before either is used.
RESIDENCE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Loading:
    """A version that is being loaded.

    Args:
        model: Its model.
        version: Its number.
        started_at: The `time.monotonic()` at which that began.
    """

    model: str
    version: int
    started_at: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """For how long it has been loading."""
        return time.monotonic() - self.started_at


class Executor(Generic[V]):
    """Executes actions on a catalog; one at a time.

    Args:
        root: The repository's directory.
        catalog: The state that the actions change.
        loader: Loads one version.
        listener: Follows every change.
        budget: How much memory versions that are loaded on demand may take;
            None if all versions are loaded at once.
        clock: Returns the seconds by which retries are timed.
    """

    def __init__(
        self,
        root: Path,
        catalog: Catalog[V],
        loader: Loader[V],
        listener: LifecycleListener[V],
        budget: MemoryBudget | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hot = False  # whether requests are served meanwhile
        self.loading: Loading | None = None
        self._root = root
        self._catalog = catalog
        self._loader = loader
        self._listener = listener
        self._budget = budget
        self._clock = clock
        self._changed = True  # the first reconciliation is reported in any case
        self._retiring: set[asyncio.Task[None]] = set()

    async def execute(self, model: str, action: Action) -> None:
        """Execute an action on a model."""
        known = self._catalog.add(model)
        self._changed = True
        match action:
            case Forget(number):
                del known.attempts[number]
            case Retry(number):
                known.attempts[number] = Attempt(None, failures=known.attempts[number].failures)
            case Load(number, files):
                await self.load(model, number, files)
            case Route(routing):
                self._warn(model, set(routing.problems) - set(known.routing.problems))
                if self.hot:
                    _log_changes(model, known.routing, routing)
                known.routing = routing
            case Retire(number):
                self._retire(known.ready.pop(number))

    async def load(self, model: str, number: int, files: Signature) -> Rejection | None:
        """Load one version and serve it, or return why it is rejected.

        Raises:
            ShuttingDownError: The server is stopping.
        """
        known = self._catalog.add(model)
        self._changed = True
        like = known.ready[max(known.ready)].execution if known.ready else None
        self.loading = Loading(model, number)
        try:
            if self._budget is not None:
                await self._make_room(self._budget, files)
            directory = self._root / model / str(number)
            load = partial(self._loader.load, directory, hot=self.hot, like=like)
            # A load that never ends must not delay the end of the process.
            loaded = await in_daemon_thread(load, LOADING)
        except (BundleRejectedError, OSError, MemoryError) as error:
            rejection = _rejection(model, number, error)
            known.attempts[number] = Attempt.failed(
                known.attempts.get(number), files, rejection, self._clock()
            )
            self._reject(rejection)
            return rejection
        finally:
            self.loading = None
        known.attempts[number] = Attempt(files)
        self._listener.ready(loaded)
        before = known.ready.get(number)
        known.ready[number] = loaded
        if before is not None:
            self._retire(before)
        return None

    def has_room(self, files: Signature) -> bool:
        """Whether a version of these files can be loaded without unloading another one."""
        needed = self._loader.memory_bytes(graph_bytes(files))
        return self._budget is None or self._budget.has_room(needed, self._catalog)

    def forget_rejections(self, model: str, version: int | None) -> None:
        """Forget why a version was rejected; None stands for all versions of the model."""
        known = self._catalog.get(model)
        for number in known.rejected if version is None else known.rejected.keys() & {version}:
            known.attempts.pop(number, None)
            known.unfetched.pop(number, None)
            self._changed = True

    def reject_unfetched(self, model: str, rejections: dict[int, Rejection]) -> None:
        """Set which versions of a model were rejected before they were on disk."""
        known = self._catalog.add(model)
        before, known.unfetched = known.unfetched, rejections
        self._changed |= before != rejections
        for number, rejection in rejections.items():
            if before.get(number) != rejection:
                self._reject(rejection)

    async def report(self) -> None:
        """Report to the listener that a change is complete, if there was one."""
        if self._changed:
            self._changed = False
            await self._listener.reconciled()

    async def close(self) -> None:
        """Wait for the versions that retire."""
        await asyncio.gather(*self._retiring, return_exceptions=True)

    async def _make_room(self, budget: MemoryBudget, files: Signature) -> None:
        """Unload the versions that were not used the longest, until another one fits.

        Raises:
            BundleRejectedError: It never fits.
        """
        budget.check(self._loader.memory_bytes(graph_bytes(files)))
        loop = asyncio.get_running_loop()
        while not self.has_room(files) and (loaded := list(self._catalog)):
            oldest = min(loaded, key=self._listener.last_used)
            rest = self._listener.last_used(oldest) + RESIDENCE_SECONDS - loop.time()
            if rest > 0:
                await asyncio.sleep(rest)
                continue
            model, number = oldest.key
            del self._catalog.get(model).ready[number]
            log.info("version unloaded to make room", model=model, version=number)
            await self._listener.retire(oldest)

    def _retire(self, version: V) -> None:
        """Unload a version after its last request, without waiting for that."""
        model, number = version.key
        log.info("version retires", model=model, version=number)
        task = asyncio.create_task(self._listener.retire(version))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _reject(self, rejection: Rejection) -> None:
        log.error(
            "bundle rejected",
            model=rejection.model,
            version=rejection.version,
            reason=rejection.reason,
            message=rejection.message,
        )
        self._listener.rejected(rejection)

    def _warn(self, model: str, problems: set[str]) -> None:
        for problem in sorted(problems):
            log.warning("alias or traffic split without effect", model=model, problem=problem)


def _log_changes(model: str, before: Routing, after: Routing) -> None:
    """Log which aliases and traffic splits are others now, whoever changed them."""
    for alias in sorted({*before.aliases, *after.aliases}):
        numbers = before.aliases.get(alias), after.aliases.get(alias)
        if numbers[0] != numbers[1]:
            log.info("alias changed", model=model, alias=alias, before=numbers[0], after=numbers[1])
    old, new = (
        {kind: str(split) for kind, split in routing.traffic} for routing in (before, after)
    )
    for kind in sorted({*old, *new}):
        if old.get(kind) != new.get(kind):
            log.info(
                "traffic split changed",
                model=model,
                kind=kind,
                before=old.get(kind),
                after=new.get(kind),
            )


def _rejection(
    model: str, number: int, error: BundleRejectedError | OSError | MemoryError
) -> Rejection:
    """Describe a failed load; a file or resource that is missing now may be there later."""
    if isinstance(error, BundleRejectedError):
        return Rejection(model, number, error.reason, error.message)
    if isinstance(error, OSError):
        message = f"can't be read: {error.strerror or type(error).__name__}"
        return Rejection(model, number, "files", message, transient=True)
    return Rejection(model, number, "memory", "the process has no memory left", transient=True)
