"""Brings what a keeper wants from a remote repository, beside the event loop."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TypeVar

from convscope.server.errors import UnavailableError
from convscope.server.repository.catalog import Catalog
from convscope.server.repository.disk import ModelOnDisk
from convscope.server.repository.remote.mirror import Mirror
from convscope.server.repository.versions import Refusal
from convscope.server.repository.wanted import Wanted

__all__ = ["Upstream"]

Result = TypeVar("Result")


class Upstream:
    """What stands between a keeper and its directory when that is the mirror of a remote.

    Args:
        mirror: The remote's copy.
        catalog: What answers.
        wanted: What is to answer.
    """

    def __init__(self, mirror: Mirror, catalog: Catalog, wanted: Wanted) -> None:
        self.refusals: list[Refusal] = []
        self.models: Mapping[str, ModelOnDisk] = {}
        self._mirror = mirror
        self._catalog = catalog
        self._wanted = wanted

    async def fetch(self) -> bool:
        """Bring the mirror's directory in step with the remote.

        `models` is what the remote has then, whether wanted or not, and
        `refusals` why some that is wanted can't be brought.

        Returns:
            Whether the remote could be reached.
        """
        models = await _apart(self._mirror.look)
        if models is None:
            return False
        self.models = models
        self.refusals = await _apart(partial(self._mirror.fetch, self._to_have()))
        return True

    async def tidy(self) -> None:
        """Remove from the mirror's directory what is neither wanted nor answers."""
        kept = {name: set(numbers) for name, numbers in self._to_have().items()}
        for name in self._catalog.names:
            kept.setdefault(name, set()).update(self._catalog[name].dormant)
        await _apart(partial(self._mirror.keep, kept))

    def try_again(self, model: str) -> None:
        """Have what was refused of a model fetched anew."""
        known = model in self._catalog.names  # who asks for a stranger leaves no trace of it
        self._mirror.try_again(model, self._catalog[model].refused if known else ())

    def check_reached(self) -> None:
        """Check that what the remote has is here.

        Raises:
            UnavailableError: It isn't.
        """
        if self._mirror.problem is not None:
            raise UnavailableError(
                f"the repository can't be followed: {self._mirror.problem}; "
                "what was loaded before answers"
            )

    def _to_have(self) -> dict[str, set[int]]:
        """The versions that are to be on the disk: also those that answer or were refused.

        A version that was refused stays for as long as the remote has it, or
        it would be fetched and refused again and again.
        """
        chosen = {}
        for name, found in self.models.items():
            known = self._catalog[name]
            numbers = {*self._wanted.choose(name, known, found), *known.ready, *known.refused}
            chosen[name] = numbers & found.versions.keys()
        return chosen


async def _apart(function: Callable[[], Result]) -> Result:
    """Run a function in a thread that nobody waits for when the server ends.

    A connection that hangs is given up after minutes only, and must not keep
    the process for so long.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def resolve(result: Result | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as caught:  # noqa: BLE001 - the one who waits is told
            error = caught
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(resolve, result, error)

    Thread(target=run, name="upstream", daemon=True).start()
    return await future
