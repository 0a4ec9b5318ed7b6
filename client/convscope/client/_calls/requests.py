"""Options and images as the messages of a request."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Unpack

from convscope.client._calls.options import ClassifyOptions, RequestOptions, Selector
from convscope.client._inputs.checks import INT32_MAX, check_integer
from convscope.client._inputs.explain import ClassLike, Explain, Rank, to_explain
from convscope.client._inputs.images import encode_input
from convscope.client._inputs.methods import METHODS
from convscope.client._results.sent_image import SentImage
from convscope.client._results.server_info import ServerLimits
from convscope.client.errors import InvalidInputError
from convscope.client.types import FeatureMapSelection, ImageLike
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = [
    "EncodedImage",
    "RequestTemplate",
    "encode_get_model",
    "encode_image",
    "encode_request",
    "encode_template",
]

_TEMPLATES_CACHED = 64
_MAX_BYTES = ServerLimits().max_request_bytes
_DTYPES = {
    "float32": mpb.DATA_TYPE_FLOAT32,
    "float16": mpb.DATA_TYPE_FLOAT16,
    "uint8": mpb.DATA_TYPE_UINT8,
}
_PRIORITIES = {"interactive": pb.PRIORITY_INTERACTIVE, "bulk": pb.PRIORITY_BULK}
# The server's default.
_OCCLUSION_CELLS = 7


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """A request without its images.

    Args:
        key: The serialized message. Images whose templates have the same key may share a request.
        has_large_results: Whether the results may be large, or slow to compute.
        runs_per_image: How many images the network runs for each: itself, and for occlusion
            one for each cell.
        selector: The model that it names.
    """

    key: bytes
    has_large_results: bool
    runs_per_image: int
    selector: Selector


@dataclass(slots=True)
class EncodedImage:
    """An image as an input of a request.

    Args:
        field: The serialized field that it adds to the request.
        sent: What its result states about it.
    """

    field: bytes
    sent: SentImage = dataclasses.field(default_factory=SentImage)


def encode_template(model: str, **options: Unpack[ClassifyOptions]) -> RequestTemplate:
    """Return the request that the options of a call describe.

    Checking and encoding take longer than the rest of a small request, so the
    latest templates are cached.

    Raises:
        InvalidInputError: An option has a wrong type or range.
    """
    feature_maps = options.get("feature_maps", ())
    if isinstance(feature_maps, Iterable) and not isinstance(feature_maps, str):
        options["feature_maps"] = tuple(feature_maps)
    explain, against = options.get("explain"), options.get("against")
    if explain is not None or against is not None:
        options["explain"] = to_explain(explain, against) or None
        options["against"] = None
    try:
        return _encode_cached(model, **options)
    except TypeError:  # a value can't be hashed, so it is invalid; raise the error that says why
        return _encode_template(model, **options)


def _encode_template(model: str, **keywords: Unpack[ClassifyOptions]) -> RequestTemplate:
    options = RequestOptions(model, **keywords)
    message = pb.ClassifyRequest(
        model=options.model,
        top_k=options.top_k,
        min_probability=options.min_probability,
        feature_maps=map(_encode_selection, options.feature_maps),
        explanations=map(_encode_explain, to_explain(options.explain)),
        priority=_PRIORITIES[options.priority],
        routing_key=options.routing_key,
    )
    _select(message, options)
    key = message.SerializeToString(deterministic=True)
    is_large = bool(message.feature_maps or message.explanations)
    selector = Selector(options.model, options.version, options.alias)
    return RequestTemplate(key, is_large, _runs_per_image(message.explanations), selector)


_encode_cached: Callable[..., RequestTemplate] = lru_cache(_TEMPLATES_CACHED, typed=True)(
    _encode_template
)


def encode_get_model(selector: Selector) -> pb.GetModelRequest:
    """Return the request for the description of one version."""
    request = pb.GetModelRequest(model=selector.model)
    _select(request, selector)
    return request


def encode_image(
    template: RequestTemplate, image: ImageLike, max_bytes: int = _MAX_BYTES
) -> EncodedImage:
    """Encode an image for a request.

    Args:
        template: The request.
        image: The image.
        max_bytes: The server's limit of a request.

    Raises:
        InvalidInputError: The image can't be sent.
    """
    field = encode_input(image, max_bytes)
    if (request_bytes := len(field) + len(template.key)) > max_bytes:
        raise InvalidInputError(
            f"the request has {request_bytes:,} bytes; the limit is {max_bytes:,}; "
            "scale the image down"
        )
    return EncodedImage(field)


def encode_request(template: RequestTemplate, images: Sequence[EncodedImage]) -> pb.ClassifyRequest:
    """Return the request of a template with images."""
    # The serialized fields of a message may follow each other in any number.
    return pb.ClassifyRequest.FromString(
        b"".join([template.key, *(image.field for image in images)])
    )


def _runs_per_image(explanations: Iterable[pb.ExplanationSelection]) -> int:
    grids = {
        (one.occlusion.cells or _OCCLUSION_CELLS, one.occlusion.window)
        for one in explanations
        if one.method == pb.EXPLANATION_METHOD_OCCLUSION
    }
    return 1 + sum(cells**2 for cells, _ in grids)


def _select(request: pb.ClassifyRequest | pb.GetModelRequest, selector: Selector) -> None:
    if selector.version is not None:
        request.version = selector.version
    if selector.alias is not None:
        request.alias = selector.alias


def _encode_selection(item: str | FeatureMapSelection) -> pb.FeatureMapSelection:
    if isinstance(item, str):
        return pb.FeatureMapSelection(name=item)
    message = pb.FeatureMapSelection(name=item.name, dtype=_DTYPES[item.dtype])
    if item.channels is not None:
        message.indices.SetInParent()  # an empty list must not mean "all channels"
        message.indices.values.extend(
            check_integer("channel", channel, 0, INT32_MAX) for channel in item.channels
        )
    elif item.strongest is not None:
        message.strongest = check_integer("strongest", item.strongest, 1, INT32_MAX)
    elif item.mean:
        message.mean = True
    return message


def _encode_explain(explain: Explain) -> pb.ExplanationSelection:
    message = pb.ExplanationSelection(
        target=_encode_class(explain.target),
        method=METHODS[explain.method],
        dtype=_DTYPES[explain.dtype],
    )
    if explain.against is not None:
        message.against.CopyFrom(_encode_class(explain.against))
    if explain.method == "occlusion":
        message.occlusion.cells = explain.cells or 0
        message.occlusion.window = explain.window or 0
    return message


def _encode_class(target: ClassLike) -> pb.ClassTarget:
    match target:
        case str():
            return pb.ClassTarget(label=target)
        case Rank():
            return pb.ClassTarget(rank=target.position)
        case _:
            return pb.ClassTarget(class_index=target)
