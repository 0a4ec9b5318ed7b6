"""Bodies of infer requests as messages: JSON, or JSON followed by the bytes of tensors."""

import zlib
from dataclasses import dataclass
from typing import Any

import orjson

from convscope.open_inference import open_inference_pb2 as pb
from convscope.web.errors import invalid, too_large, unsupported
from convscope.web.open_inference.datatypes import from_json

__all__ = ["HEADER_LENGTH", "InferBody", "decompress", "read_infer"]

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_INT64, _UINT64 = 2**63, 2**64


@dataclass(frozen=True, slots=True)
class InferBody:
    """A request, and how its reply is encoded.

    Args:
        message: The request.
        all_binary: Whether outputs follow the JSON as bytes, unless they state otherwise.
        binary: Whether each output that states it does.
    """

    message: pb.ModelInferRequest
    all_binary: bool
    binary: dict[str, bool]

    def is_binary(self, output: str) -> bool:
        """Report whether an output follows the JSON as bytes."""
        return self.binary.get(output, self.all_binary)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return a body without its Content-Encoding.

    Raises:
        HttpError: It can't be read, or has more bytes than the limit.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOW_BITS:
        known = ", ".join(_WINDOW_BITS)
        raise unsupported(f"Content-Encoding is {encoding[:20]!r}; there are: {known}")
    packer = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = packer.decompress(body, limit + 1)
    except zlib.error as error:
        raise invalid(f"the body is no {encoding}: {error}") from error
    if len(plain) > limit:
        raise too_large(
            f"the body has more than {limit:,} bytes, which is the limit of a request", is_read=True
        )
    if not packer.eof:
        raise invalid(f"the {encoding} of the body has no end")
    return plain


def read_infer(body: bytes, header_length: str | None, model: str, version: str) -> InferBody:
    """Return the request of a body.

    Args:
        body: The body.
        header_length: The length of its JSON, as the header states it; None if all is JSON.
        model: The model's name.
        version: Its version; empty for the default version.

    Raises:
        HttpError: The body can't be read.
    """
    split = _split_at(header_length, len(body))
    content = _json(body[:split])
    rest = memoryview(body)[split:]
    message = pb.ModelInferRequest(
        model_name=model, model_version=version, id=_text(content, "id", "the request")
    )
    parameters = _mapping(content, "parameters", "the request")
    all_binary = bool(parameters.pop(ALL_BINARY, False))
    _set_parameters(message.parameters, parameters)
    for item in _items(content, "inputs"):
        rest = _add_input(message, item, rest)
    if rest:
        raise invalid(f"{len(rest):,} bytes follow the inputs; check each {BINARY_SIZE}")
    binary: dict[str, bool] = {}
    for item in _items(content, "outputs"):
        name, stated = _add_output(message, item)
        if stated is not None:
            binary[name] = bool(stated)
    return InferBody(message, all_binary, binary)


def _split_at(header_length: str | None, size: int) -> int:
    if header_length is None:
        return size
    is_number = header_length.isascii() and header_length.isdecimal() and len(header_length) < 18
    if not (is_number and int(header_length) <= size):
        raise invalid(
            f"{HEADER_LENGTH} is {header_length[:20]!r}; give the length of the JSON, at most "
            f"the {size:,} bytes of the body"
        )
    return int(header_length)


def _json(text: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the request is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise invalid("the request is no JSON object")
    return content


def _add_input(message: pb.ModelInferRequest, item: Any, rest: memoryview) -> memoryview:
    """Add an input; return the bytes that follow its own."""
    name = _text(item, "name", "an input")
    parameters = _mapping(item, "parameters", f"input {name!r}")
    size = parameters.pop(BINARY_SIZE, None)
    datatype = _text(item, "datatype", f"input {name!r}")
    tensor = message.inputs.add(name=name, datatype=datatype, shape=_shape(item, name))
    _set_parameters(tensor.parameters, parameters)
    if size is None:
        if "data" in item:
            message.raw_input_contents.append(from_json(name, datatype, item["data"]))
        elif "shared_memory_region" not in parameters:  # the server has a message about it
            raise invalid(f"input {name!r} has neither data nor {BINARY_SIZE}")
        return rest
    if "data" in item:
        raise invalid(f"input {name!r} has both data and {BINARY_SIZE}; give one")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
        raise invalid(f"input {name!r} has the {BINARY_SIZE} {size!r}; {len(rest):,} bytes remain")
    message.raw_input_contents.append(bytes(rest[:size]))
    return rest[size:]


def _add_output(message: pb.ModelInferRequest, item: Any) -> tuple[str, Any]:
    name = _text(item, "name", "an output")
    parameters = _mapping(item, "parameters", f"output {name!r}")
    binary = parameters.pop(BINARY, None)
    _set_parameters(message.outputs.add(name=name).parameters, parameters)
    return name, binary


def _shape(item: Any, name: str) -> list[int]:
    shape = item.get("shape")
    if isinstance(shape, list) and all(
        isinstance(size, int) and not isinstance(size, bool) and -1 <= size < _INT64
        for size in shape
    ):
        return shape
    raise invalid(f"the shape of input {name!r} is no list of integers")


def _items(content: dict[str, Any], name: str) -> list[Any]:
    items = content.get(name) or []
    if not isinstance(items, list):
        raise invalid(f"{name} of the request is no list")
    return items


def _text(item: Any, name: str, of: str) -> str:
    if not isinstance(item, dict):
        raise invalid(f"{of} is no JSON object")
    text = item.get(name, "")
    if not isinstance(text, str):
        raise invalid(f"{name} of {of} is no string")
    return text


def _mapping(item: dict[str, Any], name: str, of: str) -> dict[str, Any]:
    mapping = item.get(name) or {}
    if not isinstance(mapping, dict):
        raise invalid(f"{name} of {of} is no JSON object")
    return dict(mapping)


def _set_parameters(target: Any, parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        parameter = target[name]
        match value:
            case bool():
                parameter.bool_param = value
            case int() if -_INT64 <= value < _INT64:
                parameter.int64_param = value
            case int() if 0 <= value < _UINT64:
                parameter.uint64_param = value
            case float():
                parameter.double_param = value
            case str():
                parameter.string_param = value
            case _:
                raise invalid(f"the parameter {name[:40]!r} is no boolean, number or string")
