"""Replies to infer requests: JSON, followed by the bytes of the outputs that are binary."""

from typing import Any

import orjson
from starlette.responses import Response

from convscope.web.errors import JSON
from convscope.web.open_inference import open_inference_pb2 as pb
from convscope.web.open_inference.datatypes import to_json
from convscope.web.open_inference.requests import BINARY_SIZE, HEADER_LENGTH, InferBody

__all__ = ["encode_reply"]


def encode_reply(request: InferBody, reply: pb.ModelInferResponse) -> Response:
    """Return the reply to a request."""
    raws: list[bytes] = []
    outputs: list[dict[str, Any]] = []
    for output, raw in zip(reply.outputs, reply.raw_output_contents, strict=True):
        fields: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.shape),
        }
        parameters = _parameters(output.parameters)
        if request.is_binary(output.name):
            parameters[BINARY_SIZE] = len(raw)
            raws.append(raw)
        else:
            fields["data"] = to_json(output.datatype, raw)
        if parameters:
            fields["parameters"] = parameters
        outputs.append(fields)
    content: dict[str, Any] = {
        "model_name": reply.model_name,
        "model_version": reply.model_version,
        "outputs": outputs,
    }
    if reply.id:
        content["id"] = reply.id
    if reply.parameters:
        content["parameters"] = _parameters(reply.parameters)
    head = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    if not raws:
        return Response(head, media_type=JSON)
    headers = {HEADER_LENGTH: str(len(head))}
    body = b"".join((head, *raws))
    return Response(body, headers=headers, media_type="application/octet-stream")


def _parameters(parameters: Any) -> dict[str, Any]:
    return {
        name: getattr(parameter, kind)
        for name, parameter in parameters.items()
        if (kind := parameter.WhichOneof("parameter_choice")) is not None
    }
