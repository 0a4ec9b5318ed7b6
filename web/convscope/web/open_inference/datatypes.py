"""Elements of tensors, as JSON and as bytes."""

import base64
import binascii
import struct
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.web.errors import invalid

__all__ = ["BYTES", "from_json", "to_json"]

BYTES = "BYTES"
_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
# The kinds of numpy that JSON may have for each kind of element.
_KINDS = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}


def from_json(name: str, datatype: str, data: Any) -> bytes:
    """Return the bytes of an input whose elements are JSON, flat or nested.

    Raises:
        HttpError: They have another type.
    """
    elements = _flat(name, data)
    if datatype == BYTES:
        return b"".join(_packed(name, text) for text in elements)
    dtype = _DTYPES.get(datatype)
    if dtype is None:
        known = ", ".join((*_DTYPES, BYTES))
        raise invalid(f"input {name!r} has the datatype {datatype[:20]!r}; there are: {known}")
    numbers = _numbers(name, datatype, dtype, elements)
    with np.errstate(over="ignore"):
        array = numbers.astype(dtype)
    if not np.isfinite(array).all():  # JSON has no infinity, so that it was too large
        raise invalid(f"the data of input {name!r} is out of range of {datatype}")
    return array.tobytes()


def _flat(name: str, data: Any) -> list[Any]:
    """Return the elements of lists in lists of one length each, however deep."""
    if not isinstance(data, list):
        raise invalid(f"the data of input {name!r} is no list; give its elements, flat or nested")
    elements: list[Any] = data
    while elements and isinstance(elements[0], list):
        if set(map(type, elements)) != {list} or len(set(map(len, elements))) > 1:
            raise invalid(f"the data of input {name!r} is ragged; give lists of one length")
        elements = list(chain.from_iterable(elements))
    return elements


def _numbers(name: str, datatype: str, dtype: np.dtype[Any], elements: list[Any]) -> NDArray[Any]:
    # An array of strings would have the size of its longest one, for each of them.
    if not set(map(type, elements)) <= {bool, int, float}:
        raise invalid(f"the data of input {name!r} has other elements than {datatype}")
    array = np.asarray(elements)
    if array.size == 0:
        return array
    if array.dtype.kind not in _KINDS[dtype.kind]:
        raise invalid(f"the data of input {name!r} has other elements than {datatype}")
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        if array.min() < low or array.max() > high:
            raise invalid(
                f"the data of input {name!r} is out of range; {datatype} is {low} to {high}"
            )
    return array


def _packed(name: str, text: Any) -> bytes:
    """Return an encoded image, which JSON can have only in base64, behind its length."""
    try:
        element = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise invalid(
            f"an element of input {name!r} is no base64; JSON can't have the bytes of an image "
            "otherwise; give base64, or use the binary tensor data extension"
        ) from error
    return struct.pack("<I", len(element)) + element


def to_json(datatype: str, raw: bytes) -> Any:
    """Return the elements of an output, flat."""
    if datatype == BYTES:
        return [element.decode(errors="replace") for element in _unpacked(raw)]
    return np.frombuffer(raw, _DTYPES[datatype])


def _unpacked(raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        (length,) = struct.unpack_from("<I", raw, position)
        yield raw[position + 4 : position + 4 + length]
        position += 4 + length
