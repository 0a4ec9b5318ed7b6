"""The reference of the error codes, from the classes of the server and the client."""

import inspect
import re
from types import ModuleType

from convscope.client import errors as client_errors
from convscope.server import errors as server_errors
from convscope.server.errors import OverloadedError, ServingError
from convscope.server.observability.metrics.families import CALL_REJECTIONS, DENIALS, REASONS
from scripts.reference.markdown import code, definition, prose, table

__all__ = ["errors_page"]

_INTRODUCTION = """# Error codes

Every error that a caller sees has a gRPC status code and a message that names the value, what is
allowed and the repair. The HTTP API has [its own table](../http.md#errors) of status codes.

## Codes
"""
_CODES = (
    (
        "`INVALID_ARGUMENT`",
        "undecodable image, wrong type or shape, unknown feature map, over a limit, "
        "unreadable message",
        "never",
        "`InvalidInputError`",
    ),
    (
        "`NOT_FOUND`",
        "unknown model, version or alias",
        "never",
        "`NotFoundError`",
    ),
    (
        "`RESOURCE_EXHAUSTED`",
        "a queue, the memory or a caller's rate is at its limit",
        "after `grpc-retry-pushback-ms`",
        "`OverloadedError`",
    ),
    (
        "`DEADLINE_EXCEEDED`",
        "the deadline has passed, or can't be met; the request did not run",
        "no",
        "`DeadlineExceededError`",
    ),
    (
        "`UNAVAILABLE`",
        "no ready version, the server stops, or there is no server",
        "yes",
        "`UnavailableError`",
    ),
    (
        "`FAILED_PRECONDITION`",
        "a bundle was rejected by its hash, a gate or a policy; the version before it serves",
        "never",
        "`FailedPreconditionError`",
    ),
    (
        "`UNAUTHENTICATED`",
        "no credentials, or invalid ones",
        "with another token",
        "`UnauthenticatedError`",
    ),
    (
        "`PERMISSION_DENIED`",
        "the policy doesn't allow the call",
        "never",
        "`PermissionDeniedError`",
    ),
    (
        "`UNIMPLEMENTED`",
        "a part of a protocol that isn't supported",
        "never",
        "`InternalError`",
    ),
    (
        "`INTERNAL`",
        "NaN or infinity as a result; or a bug, with an id that the log explains",
        "never",
        "`InternalError`",
    ),
    (
        "`CANCELLED`",
        "the caller ended the call",
        "",
        "`InternalError`",
    ),
)
_RETRIES = """The SDK retries `UNAVAILABLE` and `RESOURCE_EXHAUSTED` within the deadline.
"""


def errors_page() -> str:
    """Return the page."""
    codes = table(["code", "when", "retry", "SDK"], _CODES)
    lines = [_INTRODUCTION, codes, _RETRIES, "## Errors of the server\n"]
    lines.append(
        "The hierarchy in `server/convscope/server/errors.py`, from which every code comes:\n"
    )
    lines += [_tree(server_errors)]
    rows = [
        [code(kind.__name__), code(kind.code.name), prose(_summary(kind)), _pushback(kind)]
        for kind in _classes(server_errors, ServingError)
        if "code" in dir(kind)
    ]
    lines.append(table(["error", "code", "meaning", "retry after"], rows))
    lines += ["## Errors of the SDK\n", _tree(client_errors)]
    lines.append("## Reasons for which a bundle is rejected\n")
    lines.append(
        "They are the label `reason` of `convscope_model_load_failures_total` and "
        "`convscope_model_refused`, and in the log: "
        f"{', '.join(code(reason) for reason in REASONS)}. "
        "[Troubleshooting](../operations/troubleshooting.md#a-version-is-rejected) explains each.\n"
    )
    lines.append("## Reasons for which a call ends early\n")
    lines.append(
        definition(
            "`convscope_rejected_calls_total`", ", ".join(code(name) for name in CALL_REJECTIONS)
        )
    )
    lines.append(
        definition("`convscope_denied_calls_total`", ", ".join(code(name) for name in DENIALS))
    )
    return "\n".join(lines)


def _classes(module: ModuleType, base: type[ServingError]) -> list[type[ServingError]]:
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind is not base and not kind.__name__.startswith("_")
    ]


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0]


def _pushback(kind: type) -> str:
    milliseconds = getattr(kind, "retry_pushback_ms", None)
    if milliseconds is None:
        return ""
    return f"{milliseconds} ms" if kind is OverloadedError else "as stated"


def _tree(module: ModuleType) -> str:
    """Return the drawing of the hierarchy in a module's docstring."""
    found = re.search(r"^\w+Error\n(?:[├│└ ].*\n?)+", module.__doc__ or "", re.MULTILINE)
    return f"```text\n{found[0].rstrip()}\n```\n" if found else ""
