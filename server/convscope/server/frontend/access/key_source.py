"""Where the issuer's keys come from: a file that is followed, or a URL that is fetched again."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic

import structlog

from convscope.server.errors import UnavailableError
from convscope.server.frontend.access.files import file_state
from convscope.server.frontend.access.key_sets import KeySet, KeySetError, parse_keys
from convscope.server.frontend.access.policy import JwtRules
from convscope.server.repository.remote.threads import in_daemon_thread

__all__ = ["KeySource"]

log = structlog.get_logger(__name__)

# A token with an unknown key makes the server fetch the keys again, but not more often.
MIN_FETCH_SECONDS = 10.0
RETRY_SECONDS = 15.0
# Of a whole fetch, also of an issuer that sends a byte now and then.
FETCH_SECONDS = 30.0


class KeySource:
    """Holds the newest keys that could be read.

    Args:
        rules: Where they are.
        on_change: Called when there are other keys.
        on_reload: Called with whether the newest keys are in use.
    """

    def __init__(
        self, rules: JwtRules, on_change: Callable[[], None], on_reload: Callable[[bool], None]
    ) -> None:
        self._rules = rules
        self._on_change = on_change
        self._on_reload = on_reload
        self._keys: KeySet | None = None
        self._text = b""
        self._file_state = None if rules.is_remote else file_state(Path(rules.jwks))
        self._asked = asyncio.Event()
        self._fetching: asyncio.Task[None] | None = None

    def keys(self) -> KeySet:
        """Return the keys.

        Raises:
            UnavailableError: They could not be fetched yet.
        """
        if self._keys is None:
            raise UnavailableError("the keys that verify tokens could not be fetched yet")
        return self._keys

    def continue_from(self, before: "KeySource") -> None:
        """Keep the keys of the same URL until they are fetched again."""
        if self._rules.is_remote and before._rules.jwks == self._rules.jwks:
            self._keys, self._text = before._keys, before._text

    def read(self) -> None:
        """Read the file of keys.

        Raises:
            KeySetError: It can't be used.
        """
        try:
            self._use(Path(self._rules.jwks).read_bytes())
        except OSError as error:
            raise KeySetError(f"the file of keys can't be read: {error.strerror}") from error

    def ask(self) -> None:
        """Fetch the keys again: a token has a key that is not among them."""
        self._asked.set()

    def start(self) -> None:
        """Fetch the keys now and again, if they are remote."""
        if self._rules.is_remote:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())

    def close(self) -> None:
        """Fetch no more keys."""
        if self._fetching is not None:
            self._fetching.cancel()

    def reload(self, *, force: bool = False) -> None:
        """Read the file again if it has changed; one that is invalid is not used.

        Args:
            force: Whether to read it, or to fetch the URL, in any case.
        """
        if self._rules.is_remote:
            if force:
                self.ask()
            return
        state = file_state(Path(self._rules.jwks))
        if state == self._file_state and not force:
            return
        self._file_state = state
        try:
            self.read()
        except KeySetError as error:
            self._failed(str(error))
        else:
            self._on_reload(True)

    def _use(self, text: bytes) -> None:
        if text == self._text:
            return
        self._keys = parse_keys(text)
        is_first, self._text = not self._text, text
        if not is_first:
            self._on_change()
        log.info("token keys loaded", jwks=self._rules.jwks, keys=len(self._keys.keys))

    def _failed(self, reason: str) -> None:
        effect = "the ones before stay in use" if self._keys else "no token can be verified yet"
        log.error(
            f"token keys can't be loaded; {effect}",
            jwks=self._rules.jwks,
            reason=reason,
        )
        self._on_reload(False)

    async def _fetch(self) -> None:
        from convscope.server.frontend.access.download import DownloadError, download

        while True:
            began = monotonic()
            pause = self._rules.refresh_seconds
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    text = await in_daemon_thread(partial(download, self._rules.jwks))
                self._use(text)
                self._on_reload(True)
            except TimeoutError:
                self._failed(f"the reply was not complete after {FETCH_SECONDS:g} s")
                pause = min(pause, RETRY_SECONDS)
            except (DownloadError, KeySetError) as error:
                self._failed(str(error))
                pause = min(pause, RETRY_SECONDS)
            self._asked.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._asked.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(max(0.0, MIN_FETCH_SECONDS - (monotonic() - began)))
