"""Keeps a cache in step with a remote repository, as far as its versions are desired.

First it lists what the remote has. The caller decides which of that is
desired, and then it fetches what isn't cached yet. A remote that can't be
reached changes nothing: the server serves what is cached, with a warning.
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
from convscope.server.repository.rejection import Rejection
from convscope.server.repository.remote.cache import Cache
from convscope.server.repository.remote.documents import Documents
from convscope.server.repository.remote.location import cache_directory
from convscope.server.repository.scan import ModelOnDisk, scan

__all__ = ["RepositorySync", "SyncObserver"]

log = structlog.get_logger(__name__)

# The pause after a failure; it doubles with each further failure.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


class SyncObserver(Protocol):
    """Follows, from any thread, how a cache keeps up with its remote."""

    def synced(self, at: float) -> None:
        """Called with the time of the last success, in seconds of the system's clock."""

    def sync_failed(self) -> None:
        """Called when the remote, or a desired version in it, couldn't be read."""


class RepositorySync:
    """A remote repository's cache on this machine. Its methods block: call them in a thread.

    Args:
        url: The remote's URL.
        caches: The directory of all caches; each URL has a folder of its own in it.
        observer: Follows every success and failure.
        stopping: Whether the server shuts down: then a download is given up.
        clock: Returns the seconds by which pauses are measured.

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
        self.problem: str | None = None  # why it differs from the remote now
        self._cache = _open_cache(cache_directory(caches, url))
        self._documents = Documents(self._remote, self._cache.directory)
        self._observer = observer
        self._stopping = stopping
        self._clock = clock
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._not_before = clock()
        self._listed: dict[str, ListedModel] = {}
        self._listed_at = 0.0
        self._rejected: dict[tuple[str, int], tuple[str, str, str]] = {}
        self._refetched: set[tuple[str, int]] = set()
        if (synced_at := self._cache.synced_at) is not None:
            observer.synced(synced_at)

    @property
    def directory(self) -> Path:
        """The cache: a repository like any other."""
        return self._cache.directory

    def list_models(self) -> dict[str, ModelOnDisk] | None:
        """List the versions and aliases that the remote has.

        Returns:
            Those of each model; None if the remote can't be read now, or if the
            list is not credible.
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
            # A wrong address or lost access is more likely than a repository without models.
            self._failed("it lists no models, but listed some before")
            return None
        self._listed, self._listed_at = listed, at
        return {
            name: replace(
                self._documents.replace_in(name, here.get(name) or ModelOnDisk()),
                versions=dict.fromkeys(model.versions, ()),
            )
            for name, model in listed.items()
        }

    def fetch(self, desired: Mapping[str, Collection[int]]) -> list[Rejection]:
        """Fetch what is desired, and remove what the remote no longer has.

        Args:
            desired: The versions of each model, out of those that `list_models` returned.

        Returns:
            Why some of them are rejected. They are fetched again when the remote
            lists other files for them.
        """
        rejections: list[Rejection] = []
        problems: list[str] = []
        try:
            with self._cache.locked():
                for name, numbers in desired.items():
                    for number in sorted(numbers, reverse=True):
                        try:
                            self._fetch_version(name, number)
                        except BundleRejectedError as error:
                            rejections.append(Rejection(name, number, error.reason, error.message))
                        except RepositoryError as error:
                            problems.append(f"{name} v{number} can't be fetched: {error}")
                # Not earlier: until now, a restarted server would have only the old versions.
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
        """Remove everything else from the cache, unless another server uses it."""
        try:
            with self._cache.locked():
                self._cache.keep((name, n) for name, numbers in kept.items() for n in numbers)
        except OSError as error:
            self._failed(f"the cache can't be written to: {error.strerror}")

    def refetch(self, model: str, rejected: Collection[int]) -> None:
        """End the pause after a failure, and fetch a model's rejected versions again."""
        self._not_before = self._clock()
        self._rejected = {key: why for key, why in self._rejected.items() if key[0] != model}
        self._refetched |= {(model, number) for number in rejected}

    def _fetch_version(self, model: str, number: int) -> None:
        """Make a cached version the one that the remote lists.

        Raises:
            BundleRejectedError: The remote's files aren't a valid bundle.
            RepositoryError: It can't be read now.
            OSError: The cache can't be written to.
        """
        key = (model, number)
        if key in self._refetched:
            self._cache.discard(model, number)
            self._refetched.discard(key)
        files = self._listed[model].versions[number]
        name = f".{number}-{content_id(files)}"
        if self._cache.is_newer(model, number, self._listed_at):
            name = self._cache.versions(model)[number]  # another server has listed the remote since
        if not self._cache.has(model, name):
            rejected_name, reason, message = self._rejected.get(key, ("", "", ""))
            if rejected_name == name:
                raise BundleRejectedError(reason, message)
            try:
                self._download(model, number, files, self.directory / model / name)
            except BundleRejectedError as error:
                self._rejected[key] = name, error.reason, error.message
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
        """Remove the versions that the remote no longer lists, also those in use elsewhere."""
        for model in self._cache.models:
            listed = self._listed.get(model, ListedModel())
            for number in self._cache.versions(model).keys() - listed.versions.keys():
                # Unless another server has fetched it since.
                if not self._cache.is_newer(model, number, self._listed_at):
                    self._cache.unlink(model, number)

    def _write_documents(self) -> None:
        self._documents.remove_gone(self._listed)
        for model in self._listed:
            self._documents.write(model, self._cache.versions(model), self._listed_at)

    def _succeeded(self) -> None:
        if self.problem is not None:
            log.info("repository is available again", url=self.url)
        self.problem, self._pause_seconds = None, FIRST_PAUSE_SECONDS
        self._observer.synced(self._cache.mark_synced())

    def _failed(self, reason: str) -> None:
        self._not_before = self._clock() + self._pause_seconds
        # Not a power of the number of failures, which would overflow after a day.
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        self.problem = reason
        self.warn(reason)

    def warn(self, reason: str) -> None:
        """Log and count that the cache can't follow the remote; from any thread."""
        synced_at = self._cache.synced_at
        log.warning(
            f"repository is not available; {self._what_serves()}",
            url=self.url,
            reason=reason,
            cache_age_seconds=None if synced_at is None else round(time.time() - synced_at),
        )
        self._observer.sync_failed()

    def _what_serves(self) -> str:
        try:
            empty = self._cache.is_empty()
        except OSError:  # the reason says so
            empty = False
        return "nothing of it is cached" if empty else "the cached versions serve"


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
