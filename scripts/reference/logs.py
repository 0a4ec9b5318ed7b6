"""The reference of the log: each event in the server's source, with its fields."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scripts.reference.markdown import code, definition, prose

__all__ = ["Event", "events_of", "logs_page"]

_LEVELS = {"info": "info", "warning": "warning", "error": "error", "exception": "error"}
_FOLDERS = {
    "app.py": "Start and end",
    "process": "Process and workers",
    "config": "Settings",
    "frontend": "Calls and listeners",
    "inference": "Requests",
    "runtime": "Models and providers",
    "repository": "Repository",
    "observability": "Observability",
}
_CALL_FIELDS = {
    "method": "the method, such as `convscope.v1.ClassifierService/Classify`",
    "code": "how the call ended: a gRPC status code",
    "request_id": "the id of the call: the caller's `x-request-id`, or a new one",
    "model": "the model that answered; null if the call reached none",
    "version": "its version",
    "images": "how many inputs the call had; for a stream, those of all its requests",
    "failed_images": "how many of them have no result",
    "milliseconds": "from the arrival to the end of the call",
    "decode_ms": "the stages of the input that took the longest: decoding,",
    "queue_ms": "waiting for a runner,",
    "infer_ms": "ONNX Runtime with the copies of inputs and outputs,",
    "encode_ms": "and encoding the whole reply",
    "caller": "the caller's name in the policy, with `--policy`",
    "error": "the message that the caller received, if the call failed",
    "trace_id": "the trace, if the call is traced",
}
_INTRODUCTION = """# Log fields

The server writes one JSON object a line to standard error, or colored text if that is a terminal.
Image data and tokens never appear. [Monitoring](../monitoring.md#logs) describes how the log is
written.

Every line has `event`, `level` (`info`, `warning`, `error`) and `timestamp` (ISO 8601, UTC).
Errors that a bug has caused have an `exception` with the traceback, without values of variables.

## The line of a call

Each call writes one line with the event `call`, unless `--no-access-log` is set. What isn't known
has no key. """
_EVENTS = """## All events

The list is made from the server's source. A field in *italics* at the end means that the event
has further fields that depend on what happened. """


@dataclass(frozen=True)
class Event:
    """An event of the log.

    Args:
        name: Its text.
        level: Its level.
        folder: The folder, or the module, of the server that writes it.
        fields: The names of its fields.
        has_more: Whether it has fields whose names aren't in the source.
    """

    name: str
    level: str
    folder: str
    fields: list[str] = field(default_factory=list)
    has_more: bool = False


def logs_page(server: Path) -> str:
    """Return the page.

    Args:
        server: The folder of the package `convscope.server`.
    """
    lines = [_INTRODUCTION]
    lines += [definition(code(name), text) for name, text in _CALL_FIELDS.items()]
    lines.append(_EVENTS)
    events = sorted(set_of(events_of(server)), key=lambda event: event.name)
    for folder, title in _FOLDERS.items():
        members = [event for event in events if event.folder == folder]
        if members:
            lines.append(f"### {title}\n")
            lines += [_entry(event) for event in members]
    return "\n".join(lines)


def set_of(events: Iterator[Event]) -> list[Event]:
    """Return each event once, with the fields of all the places that write it."""
    merged: dict[tuple[str, str, str], Event] = {}
    for event in events:
        key = (event.folder, event.name, event.level)
        before = merged.get(key)
        names = [*before.fields, *event.fields] if before else event.fields
        has_more = event.has_more or (before is not None and before.has_more)
        merged[key] = Event(
            event.name, event.level, event.folder, list(dict.fromkeys(names)), has_more
        )
    return list(merged.values())


def events_of(server: Path) -> Iterator[Event]:
    """Yield each event that a call such as `log.info("serving", port=1)` writes."""
    for path in sorted(server.rglob("*.py")):
        folder = path.relative_to(server).parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (event := _event(node, folder)):
                yield event


def _event(call: ast.Call, folder: str) -> Event | None:
    function = call.func
    if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
        return None
    if function.value.id != "log" or function.attr not in _LEVELS or not call.args:
        return None
    first = call.args[0]
    if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
        return None
    names = [keyword.arg for keyword in call.keywords]
    fields = [name for name in names if name and name != "exc_info"]
    return Event(first.value, _LEVELS[function.attr], folder, fields, None in names)


def _entry(event: Event) -> str:
    fields = ", ".join(code(name) for name in event.fields)
    more = "*and others*" if event.has_more else ""
    shown = ", ".join(filter(None, (fields, more)))
    return definition(f"**{prose(event.name)}** *{event.level}*", shown or "No fields of its own.")
