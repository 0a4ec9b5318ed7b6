"""Keeps a cache in step with a remote repository, as far as its versions are wanted.

First it looks what the remote lists; whoever follows it says which of that is
wanted; then it fetches what isn't here yet. What can't be reached changes
nothing: the cache answers, with a warning.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import structlog

from convscope.bundle.errors import AddressError, BundleRejectedError, RepositoryError
from convscope.bundle.fetching import fetch_version
from convscope.bundle.listing import Files, ListedModel, content_id, sort_listing
from convscope.bundle.storage import Storage
from convscope.server.errors import StartError
from convscope.server.repository.disk import ModelOnDisk, scan
from convscope.server.repository.remote.cache import Cache
from convscope.server.repository.remote.documents import Documents
from convscope.server.repository.remote.location import cache_directory
from convscope.server.runtime.versions import Rejection

__all__ = ["RepositorySync", "SyncObserver"]

log = structlog.get_logger(__name__)

# After a failure it isn't looked again for so long, and twice as long after each further one.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


class SyncObserver(Protocol):
    """Hears, from any thread, how a cache keeps up with its remote."""

    def synced(self, at: float) -> None:
        """Hear when the cache was last like the remote, in seconds of the system's clock."""

    def sync_failed(self) -> None:
        """Hear that the remote couldn't be read, or not all that is wanted of it."""


class RepositorySync:
    """A remote repository's cache on this machine. Its methods block: call them in a thread.

    Args:
        url: The remote's URL.
        caches: The directory of all caches; this URL gets one of its own in it.
        observer: Hears of every success and failure.
        stopping: Whether the server is to end: then a download is given up.
        clock: Tells the seconds by which pauses are measured.

    Raises:
        StartError: No file system is known for the URL, or the cache can't be written to.
    """

    def __init__(
        self,
        url: str,
        caches: Path,
        observer: SyncObserver,
        *,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remote = _open_storage(url)
        self.url = self._remote.url
        self.problem: str | None = None  # why it isn't like the remote now
        self._cache = _open_cache(cache_directory(caches, url))
        self._documents = Documents(self._remote, self._cache.directory)
        self._observer = observer
        self._stopping = stopping
        self._clock = clock
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._not_before = clock()
        self._listed: dict[str, ListedModel] = {}
        self._listed_at = 0.0
        self._refused: dict[tuple[str, int], tuple[str, str, str]] = {}
        self._anew: set[tuple[str, int]] = set()
        if (synced_at := self._cache.synced_at) is not None:
            observer.synced(synced_at)

    @property
    def directory(self) -> Path:
        """The cache: a repository like any other."""
        return self._cache.directory

    def look(self) -> dict[str, ModelOnDisk] | None:
        """See which versions and aliases the remote has.

        Returns:
            Each model's; None if that can't be known now, or not believed.
        """
        if self._clock() < self._not_before:
            return None
        at = time.time()
        try:
            listed = sort_listing(self._remote.files())
            self._documents.read(listed)
            here = scan(self.directory)
        except RepositoryError as error:
            self._failed(str(error))
            return None
        except OSError as error:
            self._failed(f"the cache can't be used: {error.strerror}")
            return None
        if not any(model.versions for model in listed.values()) and not self._cache.is_empty():
            # More likely a wrong address, or access that was lost, than an order to stop.
            self._failed("it lists no model at all, and had some before")
            return None
        self._listed, self._listed_at = listed, at
        return {
            name: replace(
                self._documents.replace_in(name, here.get(name) or ModelOnDisk()),
                versions=dict.fromkeys(model.versions, ()),
            )
            for name, model in listed.items()
        }

    def fetch(self, wanted: Mapping[str, Collection[int]]) -> list[Rejection]:
        """Bring what is wanted here, and remove what the remote no longer has.

        Args:
            wanted: The versions of each model, of those that `look` has shown.

        Returns:
            Why some of them aren't what they should be. They are tried again
            when the remote lists other files for them.
        """
        rejections: list[Rejection] = []
        problems: list[str] = []
        try:
            with self._cache.locked():
                for name, numbers in wanted.items():
                    for number in sorted(numbers, reverse=True):
                        try:
                            self._bring(name, number)
                        except BundleRejectedError as error:
                            rejections.append(Rejection(name, number, error.reason, error.message))
                        except RepositoryError as error:
                            problems.append(f"{name} v{number} can't be fetched: {error}")
                # Only now: until here, the old ones are all that a restart would have.
                self._remove_gone()
                self._write_documents()
        except OSError as error:
            problems.append(f"the cache can't be written to: {error.strerror}")
        if problems:
            self._failed("; ".join(problems))
        else:
            self._succeeded()
        return rejections

    def keep(self, kept: Mapping[str, Collection[int]]) -> None:
        """Remove from the cache what isn't to be kept, unless another server holds it."""
        try:
            with self._cache.locked():
                self._cache.keep((name, n) for name, numbers in kept.items() for n in numbers)
        except OSError as error:
            self._failed(f"the cache can't be written to: {error.strerror}")

    def try_again(self, model: str, refused: Collection[int]) -> None:
        """Look at once, whatever failed before, and fetch anew what was refused of a model."""
        self._not_before = self._clock()
        self._refused = {key: why for key, why in self._refused.items() if key[0] != model}
        self._anew |= {(model, number) for number in refused}

    def _bring(self, model: str, number: int) -> None:
        """Let a version be what the remote lists for it.

        Raises:
            BundleRejectedError: That isn't what it should be.
            RepositoryError: It can't be read now.
            OSError: The cache can't be written to.
        """
        key = (model, number)
        if key in self._anew:
            self._cache.discard(model, number)
            self._anew.discard(key)
        files = self._listed[model].versions[number]
        name = f".{number}-{content_id(files)}"
        if self._cache.is_newer(model, number, self._listed_at):
            name = self._cache.versions(model)[number]  # another server has seen the remote since
        if not self._cache.has(model, name):
            refused_name, reason, message = self._refused.get(key, ("", "", ""))
            if refused_name == name:
                raise BundleRejectedError(reason, message)
            try:
                self._download(model, number, files, self.directory / model / name)
            except BundleRejectedError as error:
                self._refused[key] = name, error.reason, error.message
                raise
        self._cache.link(model, number, name)

    def _download(self, model: str, number: int, files: Files, target: Path) -> None:
        started_at = self._clock()
        fetch_version(self._remote, f"{model}/{number}", files, target, self._stopping)
        log.info(
            "version fetched",
            url=self.url,
            model=model,
            version=number,
            seconds=round(self._clock() - started_at, 3),
        )

    def _remove_gone(self) -> None:
        """Remove the versions that the remote no longer lists, whoever holds them."""
        for model in self._cache.models:
            there = self._listed.get(model, ListedModel())
            for number in self._cache.versions(model).keys() - there.versions.keys():
                # Unless another server has fetched it since.
                if not self._cache.is_newer(model, number, self._listed_at):
                    self._cache.unlink(model, number)

    def _write_documents(self) -> None:
        self._documents.remove_gone(self._listed)
        for model in self._listed:
            self._documents.write(model, self._cache.versions(model), self._listed_at)

    def _succeeded(self) -> None:
        if self.problem is not None:
            log.info("repository is reached again", url=self.url)
        self.problem, self._pause_seconds = None, FIRST_PAUSE_SECONDS
        self._observer.synced(self._cache.mark_synced())

    def _failed(self, reason: str) -> None:
        self._not_before = self._clock() + self._pause_seconds
        # Not a power of the number of failures, which would overflow after a day.
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        self.problem = reason
        self.warn(reason)

    def warn(self, reason: str) -> None:
        """Let everybody know why the remote can't be followed; from any thread."""
        synced_at = self._cache.synced_at
        log.warning(
            "repository can't be followed; what is cached answers",
            url=self.url,
            reason=reason,
            cache_age_seconds=None if synced_at is None else round(time.time() - synced_at),
        )
        self._observer.sync_failed()


def _open_storage(url: str) -> Storage:
    try:
        return Storage(url)
    except AddressError as error:
        raise StartError(f"--models can't be used: {error}") from error


def _open_cache(directory: Path) -> Cache:
    try:
        return Cache(directory)
    except OSError as error:
        raise StartError(
            f"the cache {directory} can't be written to: {error.strerror}; name another place "
            "with --repository-cache"
        ) from error
