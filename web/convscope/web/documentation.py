"""What the OpenAPI document says about requests and errors."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from convscope.web.replies import ErrorReply, JsonImages, OpenInferenceError

__all__ = [
    "CLASSIFY_BODY",
    "DESCRIPTION",
    "ERRORS",
    "INFER_BODY",
    "MODEL_NAME",
    "MODEL_PARAMETER",
    "OPEN_INFERENCE_ERRORS",
    "DocumentedApp",
]

MODEL_NAME = "The model's name, as GET /v1/models lists it."
MODEL_PARAMETER = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": MODEL_NAME,
    "schema": {"type": "string"},
    "example": "efficientnet_lite0",
}

DESCRIPTION = """
Classify images with the models of a Convscope server, and see what the networks see.

    curl -F image=@photo.jpg http://localhost:8080/v1/models/efficientnet_lite0:classify

Every request has a deadline, and every error names what is wrong and how to fix it. The
messages are those of the gRPC API.
"""

_BINARY = {"schema": {"type": "string", "format": "binary"}}
CLASSIFY_BODY: dict[str, Any] = {
    "required": True,
    "description": "One image as the body, a form with the field `image` (may be repeated), "
    "or JSON with base64. A .npy array of uint8 [H, W, C] or [H, W] is taken as pixels, any "
    "other .npy array as the model's own input.",
    "content": {
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "array", "items": {"type": "string", "format": "binary"}}
                },
            }
        },
        "application/json": {
            "schema": JsonImages.model_json_schema(),
            "example": {"images": ["iVBORw0KGgo..."]},
        },
    },
}

_BY_STATUS = {
    400: "The request, an image or a parameter is invalid.",
    401: "Credentials are missing or invalid.",
    403: "The credentials don't allow the request.",
    404: "There is no such model, version or alias.",
    408: "The body did not arrive in time.",
    413: "The body is over a limit.",
    415: "The body has a type that isn't accepted.",
    429: "The server is full; retry after the seconds of Retry-After.",
    431: "The headers are over a limit.",
    500: "An unexpected error; the log explains the id in the message.",
    503: "The server doesn't respond, or isn't ready.",
    504: "The deadline has passed.",
}


def _errors(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": model, "description": description}
        for status, description in _BY_STATUS.items()
    }


ERRORS = _errors(ErrorReply)
OPEN_INFERENCE_ERRORS = _errors(OpenInferenceError)

INFER_BODY: dict[str, Any] = {
    "required": True,
    "description": "The tensors as JSON, or with the header Inference-Header-Content-Length as "
    "JSON followed by their bytes. The models MODEL.features and MODEL.explain return feature "
    "maps and explanations.",
    "content": {
        "application/json": {
            "schema": {"type": "object"},
            "example": {
                "inputs": [
                    {"name": "images", "datatype": "BYTES", "shape": [1], "data": ["iVBORw0K..."]}
                ],
                "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}],
            },
        },
        "application/octet-stream": _BINARY,
    },
}

# FastAPI lists them for each route with parameters, but our handlers reply with 400.
_UNUSED_STATUS, _UNUSED_SCHEMAS = "422", ("HTTPValidationError", "ValidationError")


class DocumentedApp(FastAPI):
    """An app whose OpenAPI document lists the replies that it has, and the token of callers."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        document = super().openapi()
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop(_UNUSED_STATUS, None)
        components = document.setdefault("components", {})
        for name in _UNUSED_SCHEMAS:
            components.get("schemas", {}).pop(name, None)
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{}, {"token": []}]  # a token is optional
        return document
