"""What the parameters of a request ask for."""

from collections.abc import Mapping
from dataclasses import dataclass

from convscope.server.errors import InvalidInputError, UnsupportedError
from convscope.server.frontend.open_inference import open_inference_pb2 as pb

__all__ = [
    "INTERACTIVE",
    "PRIORITY_LEVELS",
    "Schedule",
    "read_classification",
    "read_schedule",
    "refuse_shared_memory",
]

Parameters = Mapping[str, pb.InferParameter]

_SEQUENCE = frozenset({"sequence_id", "sequence_start", "sequence_end"})
# Levels of priority, the most urgent first: what somebody waits for, and bulk. A
# level beyond the last is the last.
PRIORITY_LEVELS = 2
INTERACTIVE = 1
_MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a request is to be answered, by the extension schedule_policy, and by which version.

    Args:
        bulk: Whether it may wait until nothing else does.
        timeout_seconds: How long it may wait to be run; None for any time.
        routing_key: What it is recognised by while a canary is tried; our own.
    """

    bulk: bool = False
    timeout_seconds: float | None = None
    routing_key: str = ""


def read_schedule(parameters: Parameters) -> Schedule:
    """Read the parameters of a request; those that mean nothing here are ignored.

    Raises:
        InvalidInputError: One has a value that can't be.
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
                "a classifier keeps nothing from one request to the next, so there are no "
                f"sequences; leave out {name!r}"
            )
    return Schedule(bulk, timeout, key)


def read_classification(parameters: Parameters) -> int | None:
    """Read how many classes an output is to be answered with; None when it is wanted as a tensor.

    Raises:
        InvalidInputError: It is none at all.
    """
    if "classification" not in parameters:
        return None
    count = _natural("classification", parameters["classification"])
    if count == 0:
        raise InvalidInputError("the parameter 'classification' is 0; ask for 1 or more classes")
    return count


def refuse_shared_memory(name: str, parameters: Parameters) -> None:
    """Refuse an input or an output that is to be in shared memory.

    Raises:
        UnsupportedError: It is.
    """
    if "shared_memory_region" in parameters:
        raise UnsupportedError(
            f"{name[:80]!r} is to be in shared memory, which this server doesn't have; "
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
