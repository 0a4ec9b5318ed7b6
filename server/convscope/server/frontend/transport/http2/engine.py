"""The state machine of HTTP/2; the only module that imports `ngh2`."""

from ngh2 import (
    Configuration,
    Connection,
    ConnectionClosed,
    DataReceived,
    DenialOfServiceError,
    ErrorCode,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    Role,
    Setting,
    SettingsReceived,
    StreamClosed,
    TrailersReceived,
)
from ngh2 import NGH2Error as EngineError

from convscope.server.frontend.transport.http2.limits import Limits

__all__ = [
    "FIRST_WINDOW_BYTES",
    "STREAM_WINDOW_BYTES",
    "Connection",
    "ConnectionClosed",
    "DataReceived",
    "DenialOfServiceError",
    "EngineError",
    "ErrorCode",
    "PingAcknowledged",
    "PingReceived",
    "RequestReceived",
    "SettingsReceived",
    "StreamClosed",
    "TrailersReceived",
    "engine_factory",
    "goaway_frame",
]

# What a client may send of a call before the server knows whether it fits. A rejected call sends
# as much in vain, and takes that from the calls that were admitted.
FIRST_WINDOW_BYTES = 256 * 1024
# What it may send ahead of a larger message once that is admitted.
STREAM_WINDOW_BYTES = 1 << 20
# The part of a frame that has arrived is in no budget; each chunk costs some microseconds.
FRAME_BYTES = 64 * 1024
_GOAWAY = 7


class engine_factory:  # noqa: N801 - it is used as a function
    """Makes engines of connections that share their limits.

    Args:
        limits: The limits of a connection.
    """

    def __init__(self, limits: Limits) -> None:
        self._configuration = Configuration(
            auto_window_update=False,
            # The engine ends the connection above its limits. Ours end the call only.
            max_inbound_header_list_size=4 * limits.max_metadata_bytes,
            max_inbound_header_count=512,
            # Callers reset streams at their deadlines too; `Connection` knows the difference.
            stream_reset_rate_limit=(10_000, 1_000),
        )
        # As much as all streams: one that isn't read must not stop the others.
        self._connection_window = limits.max_streams * STREAM_WINDOW_BYTES
        self._settings = {
            Setting.MAX_CONCURRENT_STREAMS: limits.max_streams,
            Setting.MAX_FRAME_SIZE: FRAME_BYTES,
            Setting.INITIAL_WINDOW_SIZE: FIRST_WINDOW_BYTES,
            Setting.MAX_HEADER_LIST_SIZE: limits.max_metadata_bytes,
        }

    def __call__(self) -> Connection:
        """Return the engine of a new connection, with its settings queued."""
        engine = Connection(Role.SERVER, self._configuration)
        engine.initiate_connection(self._settings)
        engine.set_local_window_size(self._connection_window)
        return engine


def goaway_frame(last_stream_id: int, error_code: int, reason: bytes = b"") -> bytes:
    """Return the frame that ends a connection whose engine has failed, and sends nothing more."""
    payload = last_stream_id.to_bytes(4, "big") + error_code.to_bytes(4, "big") + reason
    return len(payload).to_bytes(3, "big") + bytes([_GOAWAY, 0, 0, 0, 0, 0]) + payload
