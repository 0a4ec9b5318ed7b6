"""Checks of single arguments."""

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from convscope.client.errors import InvalidInputError

__all__ = [
    "INT32_MAX",
    "INT64_MAX",
    "CheckedMetadata",
    "Metadata",
    "check_integer",
    "check_metadata",
    "check_name",
    "check_timeout",
    "merge_metadata",
]

Metadata: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]
"""Further headers of a call, such as {"authorization": "Bearer ..."}; pairs, if a key repeats."""

CheckedMetadata: TypeAlias = tuple[tuple[str, str], ...]
"""Metadata in the form that gRPC accepts."""

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
_METADATA_FORM = 'give keys and values of str, such as {"x-tenant": "blue"}'
_METADATA_KEY = re.compile(r"[0-9a-z_.-]+")
_METADATA_VALUE = re.compile(r"[ -~]*")


def check_integer(argument: str, value: Any, low: int, high: int) -> int:
    """Return an integer of any type as an `int`.

    Raises:
        InvalidInputError: It isn't an integer, or is out of range.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InvalidInputError(f"{argument} is {value!r}; give an integer") from error
    if number < low and high >= INT32_MAX:
        raise InvalidInputError(f"{argument} is {number}; it must be {low} or more")
    if not low <= number <= high:
        raise InvalidInputError(f"{argument} is {number}; it must be between {low} and {high:,}")
    return number


def check_name(argument: str, value: Any) -> None:
    """Check that a value is a `str`.

    Raises:
        InvalidInputError: It isn't.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{argument} is {value!r}; give a name, a str")


def check_metadata(metadata: Metadata) -> CheckedMetadata:
    """Return the metadata of a call in the form that gRPC accepts.

    Raises:
        InvalidInputError: A key or a value has characters that gRPC doesn't send.
    """
    if not metadata:
        return ()
    entries: Any = metadata.items() if isinstance(metadata, Mapping) else metadata
    if isinstance(entries, str) or not isinstance(entries, Iterable):
        raise InvalidInputError(f"metadata is {metadata!r}; {_METADATA_FORM}")
    return tuple([_check_entry(entry) for entry in entries])


def _check_entry(entry: Any) -> tuple[str, str]:
    is_pair = isinstance(entry, tuple | list) and len(entry) == 2
    if not is_pair or not all(isinstance(part, str) for part in entry):
        # Without the value, which may be a secret.
        shown = repr(entry[0]) if is_pair else "one of its entries"
        raise InvalidInputError(
            f"metadata: {shown} is not a key and a value of str; {_METADATA_FORM}"
        )
    key, value = entry[0].lower(), entry[1]
    if not _METADATA_KEY.fullmatch(key) or key.startswith("grpc-") or key.endswith("-bin"):
        raise InvalidInputError(
            f"the metadata key {key!r} can't be sent; give letters, digits, '-', '_' and '.', "
            "without the prefix grpc- and the suffix -bin"
        )
    if not _METADATA_VALUE.fullmatch(value):
        raise InvalidInputError(f"the metadata value of {key!r} must be printable ASCII")
    return key, value


def check_timeout(timeout_seconds: float, name: str) -> float:
    """Return the timeout if it gives a call a deadline.

    Args:
        timeout_seconds: The timeout.
        name: What the caller calls it.

    Raises:
        InvalidInputError: It isn't a positive, finite number.
    """
    is_number = isinstance(timeout_seconds, int | float | np.number)
    if not (is_number and math.isfinite(timeout_seconds) and timeout_seconds > 0):
        raise InvalidInputError(
            f"{name} is {timeout_seconds!r}; give a positive, finite number of seconds"
        )
    return float(timeout_seconds)


def merge_metadata(defaults: CheckedMetadata, metadata: Metadata) -> CheckedMetadata:
    """Return the metadata of a call: its own, and the defaults whose keys it doesn't have.

    Raises:
        InvalidInputError: A key or a value has characters that gRPC doesn't send.
    """
    own = check_metadata(metadata)
    if not defaults:
        return own
    keys = {key for key, _ in own}
    return (*(pair for pair in defaults if pair[0] not in keys), *own)
