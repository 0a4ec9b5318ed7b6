"""Reads the parameters of a request."""

from collections.abc import Mapping
from dataclasses import dataclass

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.errors import InvalidInputError, UnsupportedError

__all__ = [
    "INTERACTIVE",
    "PRIORITY_LEVELS",
    "RequestOptions",
    "read_classification",
    "read_options",
    "reject_shared_memory",
]

Parameters = Mapping[str, pb.InferParameter]

_SEQUENCE = frozenset({"sequence_id", "sequence_start", "sequence_end"})
# The levels of priority, the most urgent first: interactive and bulk. A level beyond the
# last one means the last one.
PRIORITY_LEVELS = 2
INTERACTIVE = 1
_MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """Priority and timeout of a request, by the extension schedule_policy, and its routing key.

    Args:
        bulk: Whether all interactive requests run first.
        timeout_seconds: How long it may wait until it runs; None for any time.
        routing_key: Assigns it to a side of a traffic split; our own parameter.
    """

    bulk: bool = False
    timeout_seconds: float | None = None
    routing_key: str = ""


def read_options(parameters: Parameters) -> RequestOptions:
    """Read the parameters of a request; unknown ones are ignored.

    Raises:
        InvalidInputError: A value is invalid.
        UnsupportedError: It is part of a sequence.
    """
    bulk, timeout, key = False, None, ""
    for name, parameter in parameters.items():
        if name == "priority":
            bulk = _natural(name, parameter) > INTERACTIVE
        elif name == "timeout":
            timeout = _natural(name, parameter) / _MICROSECONDS or None
        elif name == "routing_key":
            key = _text(name, parameter)
        elif name in _SEQUENCE and _value(parameter):
            raise UnsupportedError(
                "a classifier keeps no state between requests, so it has no "
                f"sequences; leave out {name!r}"
            )
    return RequestOptions(bulk, timeout, key)


def read_classification(parameters: Parameters) -> int | None:
    """Read how many classes an output is returned as; None means as a tensor.

    Raises:
        InvalidInputError: The number is invalid or 0.
    """
    if "classification" not in parameters:
        return None
    count = _natural("classification", parameters["classification"])
    if count == 0:
        raise InvalidInputError("the parameter 'classification' is 0; ask for 1 or more classes")
    return count


def reject_shared_memory(name: str, parameters: Parameters) -> None:
    """Reject an input or an output in shared memory.

    Raises:
        UnsupportedError: It is in shared memory.
    """
    if "shared_memory_region" in parameters:
        raise UnsupportedError(
            f"{name[:80]!r} is in shared memory, which this server doesn't support; "
            "send and receive it in the messages"
        )


def _natural(name: str, parameter: pb.InferParameter) -> int:
    value = _value(parameter)
    if not isinstance(value, int) or isinstance(value, bool):
        kind = parameter.WhichOneof("parameter_choice") or "nothing"
        raise InvalidInputError(f"the parameter {name!r} is set as {kind}; set int64_param")
    if value < 0:
        raise InvalidInputError(f"the parameter {name!r} is {value}; it can't be negative")
    return value


def _text(name: str, parameter: pb.InferParameter) -> str:
    value = _value(parameter)
    if not isinstance(value, str):
        kind = parameter.WhichOneof("parameter_choice") or "nothing"
        raise InvalidInputError(f"the parameter {name!r} is set as {kind}; set string_param")
    return value


def _value(parameter: pb.InferParameter) -> object:
    kind = parameter.WhichOneof("parameter_choice")
    return None if kind is None else getattr(parameter, kind)
