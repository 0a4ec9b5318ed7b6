"""Calls over HTTP/1.1 for the peers without gRPC."""

import json
import urllib.request
from typing import Any

from bench.loads import Request

__all__ = ["answers", "multipart", "post"]

BOUNDARY = "bench-boundary"


def multipart(url: str, data: bytes, *, image: bool) -> Request:
    """Make the upload of a JPEG or of plain bytes, as browsers and curl do."""
    filename, kind = ("a.jpg", "image/jpeg") if image else ("a.bin", "application/octet-stream")
    head = (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="image"; filename="{filename}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    )
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Request(url, body, False, (f"content-type: multipart/form-data; boundary={BOUNDARY}",))


def post(request: Request) -> Any:
    """Make one call and return the JSON of its reply."""
    headers = dict(header.split(": ", 1) for header in request.headers)
    call = urllib.request.Request(request.url, request.body, headers)
    with urllib.request.urlopen(call, timeout=30) as reply:
        return json.load(reply)


def answers(url: str) -> bool:
    """Return whether a GET of a URL succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            status: int = reply.status
            return status == 200
    except OSError:
        return False
