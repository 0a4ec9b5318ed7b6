"""What the OpenAPI document says about requests and errors."""

from typing import Any

from fastapi import FastAPI

from convscope.web.replies import ErrorReply, JsonImages

__all__ = [
    "CLASSIFY_BODY",
    "DESCRIPTION",
    "ERRORS",
    "INFER_BODY",
    "MODEL_NAME",
    "MODEL_PARAMETER",
    "describe_tokens",
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

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": description}
    for status, description in (
        (400, "The image or a parameter is invalid."),
        (401, "Credentials are missing or invalid."),
        (403, "The credentials don't allow the request."),
        (404, "There is no such model, version or alias."),
        (408, "The body did not arrive in time."),
        (413, "The body is over a limit."),
        (415, "The body has a type that isn't accepted."),
        (429, "The server is full; retry after the seconds of Retry-After."),
        (503, "The server doesn't respond, or isn't ready."),
        (504, "The deadline has passed."),
    )
}

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


def describe_tokens(app: FastAPI) -> None:
    """Add the token of callers, which is optional, to the OpenAPI document of an app."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        scheme = {"type": "http", "scheme": "bearer"}
        document.setdefault("components", {})["securitySchemes"] = {"token": scheme}
        document["security"] = [{}, {"token": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's documentation says
