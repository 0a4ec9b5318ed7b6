"""Images by http and https, downloaded by the client."""

import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from typing import Final
from urllib.parse import quote

from convscope.client.cli.sources.source import Source, printable
from convscope.client.errors import (
    ConvscopeError,
    DeadlineExceededError,
    InvalidInputError,
    UnavailableError,
)

__all__ = ["MAX_BYTES", "is_url", "url_source", "with_downloads"]

MAX_BYTES: Final = 32 * 2**20
_AT_ONCE: Final = 8
_CHUNK_BYTES: Final = 2**16
_NEVER_QUOTED: Final = "%/:=&?~#+!$,;'@()*[]"


def is_url(text: str) -> bool:
    """Report whether a text is the URL of an image."""
    return text.lower().startswith(("http://", "https://"))


def url_source(url: str, place: str) -> Source:
    """Return an image that is yet to be downloaded."""
    return Source(printable(url), place=place, url=url)


def with_downloads(
    sources: Iterable[Source], timeout_seconds: float
) -> Generator[Source, None, None]:
    """Yield the sources in order, with the content of each URL; some are downloaded ahead."""
    pool = ThreadPoolExecutor(_AT_ONCE, "download")
    waiting: deque[tuple[Source, Future[Source] | None]] = deque()
    try:
        for source in sources:
            download = pool.submit(_download, source, timeout_seconds) if source.url else None
            waiting.append((source, download))
            while waiting and (len(waiting) > _AT_ONCE or _is_ready(waiting[0][1])):
                yield _wait(*waiting.popleft())
        while waiting:
            yield _wait(*waiting.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _is_ready(download: Future[Source] | None) -> bool:
    return download is None or download.done()


def _wait(source: Source, download: Future[Source] | None) -> Source:
    return source if download is None else download.result()


def _download(source: Source, timeout_seconds: float) -> Source:
    try:
        return replace(source, image=_read(source.url, timeout_seconds))
    except ConvscopeError as error:
        return replace(source, error=error)


def _read(url: str, timeout_seconds: float) -> bytes:
    """Return the content of a URL.

    Raises:
        ConvscopeError: It can't be downloaded in time, or is too large.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        agent = {"User-Agent": f"convscope/{metadata.version('convscope')}"}
        request = urllib.request.Request(quote(url, safe=_NEVER_QUOTED), headers=agent)
        with _opener().open(request, timeout=timeout_seconds) as reply:
            parts, size = [], 0
            while part := reply.read(_CHUNK_BYTES):
                parts.append(part)
                size += len(part)
                if size > MAX_BYTES:
                    raise InvalidInputError(f"it has more than {MAX_BYTES // 2**20} MiB")
                if time.monotonic() > deadline:
                    raise TimeoutError
            return b"".join(parts)
    except urllib.error.HTTPError as error:
        error.close()
        raise InvalidInputError(f"its server answers {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise _explain(error, timeout_seconds) from error
    except Exception as error:  # http.client raises more kinds
        raise UnavailableError(
            f"it can't be downloaded: {error or type(error).__name__}"
        ) from error


def _explain(error: OSError | ValueError, timeout_seconds: float) -> ConvscopeError:
    if isinstance(error, ConvscopeError):
        return error
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return DeadlineExceededError(
            f"it was not downloaded within {timeout_seconds:g} s; allow more with --timeout"
        )
    return UnavailableError(f"it can't be downloaded: {reason}")


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https only, also after a redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
