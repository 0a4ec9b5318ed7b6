"""The id of a request, by which the server's log can be searched."""

import secrets

from convscope.client._inputs.checks import CheckedMetadata

__all__ = ["with_request_id"]

_KEY = "x-request-id"


def with_request_id(metadata: CheckedMetadata) -> tuple[CheckedMetadata, str]:
    """Return metadata with a request id, and the id: the caller's own, or else a new one."""
    for key, value in metadata:
        if key == _KEY:
            return metadata, value
    request_id = secrets.token_hex(8)
    return (*metadata, (_KEY, request_id)), request_id
