"""gRPC's own messages in plain English.

It is next to the client and not in it, because the health probe imports nothing of the client.
"""

import re

__all__ = ["connection_problem", "is_no_server", "lost_call"]

# What gRPC reports when it can't connect. All of it precedes the first message of a server.
_NO_SERVER = re.compile(
    r"^(failed to connect|connections to all backends|errors resolving|empty address|"
    r"(dns|name) resolution|unavailable: (dns|name) resolution)",
    re.I,
)
_PROBLEMS = (
    (r"connection refused", "the connection is refused: nothing listens there"),
    (r"no such file", "there is no such socket"),
    (r"permission denied|not permitted", "this user may not open the socket"),
    (r"resol|lookup|domain name|name or service", "the host name is unknown"),
    (r"unreachable|no route|invalid argument", "there is no route to this address"),
    (r"timed? ?out|timeout|deadline", "the attempt to connect got no reply in time"),
    (r"ssl|tls|handshake|certificate", "the TLS handshake failed"),
    (r"settings frame|http/2|http1", "what listens there is no gRPC server"),
    (r"socket closed|reset|broken pipe|eof|end of", "the connection was closed at once"),
)
# What it reports when a call ends without a message of the server.
_LOST = (
    (r"goaway", "the server closed the connection"),
    (
        r"stream removed|recvmsg|sendmsg|socket closed|connection reset|broken pipe|endpoint clos"
        r"|transport (closed|destroyed)|cancelling all calls|end of tcp|^eof",
        "the connection was lost during the call",
    ),
    (r"keepalive|ping timeout|ping watchdog", "the connection no longer responds"),
    (r"^received rst_stream|^rst_stream", "the server ended the call without a reason"),
    (r"cancelled by application|channel closed|^cancelled$", "the call was cancelled here"),
    (r"exception (de)?serializing|failed to deserialize", "the message can't be read"),
)
# gRPC itself never ends a call with these, so that the message is the server's.
_CODES_OF_SERVERS = frozenset(
    (
        *("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION"),
        *("ABORTED", "OUT_OF_RANGE", "DATA_LOSS"),
    )
)
_HTTP_STATUS = re.compile(r"received http2 header with status: (\d+)", re.I)


def is_no_server(details: str) -> bool:
    """Report whether a message of gRPC states that there is no connection."""
    return bool(_NO_SERVER.search(details))


def connection_problem(details: str) -> str:
    """Return why there is no connection, in plain English."""
    for pattern, problem in _PROBLEMS:
        if re.search(pattern, details, re.I):
            return problem
    return "the connection failed"


def lost_call(code: str, details: str) -> str:
    """Return why a call ended without a message of the server; empty if it has one.

    Args:
        code: The name of the status code.
        details: gRPC's own message, or the server's.
    """
    if code in _CODES_OF_SERVERS:
        return ""
    if status := _HTTP_STATUS.search(details):
        return f"a proxy or a web server replied with the HTTP status {status[1]}"
    for pattern, problem in _LOST:
        if re.search(pattern, details, re.I):
            return problem
    return ""
