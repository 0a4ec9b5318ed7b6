"""Fetches an issuer's keys; imported only if they are remote."""

import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

__all__ = ["DownloadError", "download"]

TIMEOUT_SECONDS = 10.0
MAX_BYTES = 1 << 20


class DownloadError(Exception):
    """The URL can't be fetched; the message has the reason."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead to an address that the policy doesn't name."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


_OPENER = urllib.request.build_opener(_NoRedirect)


def download(url: str) -> bytes:
    """Fetch a URL.

    Raises:
        DownloadError: That fails.
    """
    try:
        with _OPENER.open(url, timeout=TIMEOUT_SECONDS) as reply:
            data: bytes = reply.read(MAX_BYTES + 1)
    except HTTPError as error:  # it holds the connection
        error.close()
        raise DownloadError(f"the reply has the status {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise DownloadError(str(getattr(error, "reason", None) or error)[:200]) from error
    if len(data) > MAX_BYTES:
        raise DownloadError(f"the reply has more than {MAX_BYTES:,} bytes")
    return data
