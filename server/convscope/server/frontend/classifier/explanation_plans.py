"""Checks which explanations a request selects, and plans what is computed for them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import BundleRejectedError, InvalidInputError
from convscope.server.frontend.classifier.class_targets import class_choice
from convscope.server.frontend.explanations import METHOD_NAMES, ExplanationOffer, offer
from convscope.server.frontend.reply_limits import ExplanationLimits
from convscope.server.frontend.tensors import DTYPES
from convscope.server.inference.explanations import ExplanationPlan, OcclusionGrid
from convscope.server.inference.requests import InferenceRequest
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["PlannedExplanation", "PlannedExplanations", "plan_explanations"]

DEFAULT_CELLS = 7
# Squares that overlap show more of an object than those of one cell.
DEFAULT_WINDOW = 1.5
MIN_CELLS = 2
# The largest size of one explanation without labels and heat.
_EXPLANATION_BYTES = 128
# Heat of more bytes is encoded in a thread.
_LARGE_BYTES = 2**16
_GRAPH_METHODS = (pb.EXPLANATION_METHOD_GRAD_CAM, pb.EXPLANATION_METHOD_CAM)
# Without a mean, the neutral color of an image.
_GRAY = 0.5


@dataclass(frozen=True, slots=True)
class PlannedExplanation:
    """One explanation that a request selects.

    Args:
        method: How it is computed.
        target: The class: an index, or -1 for the best class, -2 for the second etc.
        against: The class to contrast it with, likewise; None for no contrast.
        data_type: The type of the heat's elements.
        grid: The grid of occlusion; None for other methods.
    """

    method: pb.ExplanationMethod.ValueType
    target: int
    against: int | None
    data_type: mpb.DataType.ValueType
    grid: OcclusionGrid | None

    @property
    def choices(self) -> tuple[int, ...]:
        """The classes whose scores are returned."""
        return (self.target,) if self.against is None else (self.target, self.against)


@dataclass(frozen=True, slots=True)
class PlannedExplanations:
    """The explanations that a request selects for each of its inputs.

    Args:
        selected: The explanations, in the order of the request.
        computed: What is computed for them, and later what was computed.
        columns: The position of each class among the classes whose heat is computed.
        labels: The name of each class.
        tensor: The name of the tensor that is explained.
        reply_bytes: The largest size that they add to the reply to each input.
        is_large: Whether writing them takes long.
    """

    selected: Sequence[PlannedExplanation]
    computed: ExplanationPlan
    columns: Mapping[int, int]
    labels: Sequence[str]
    tensor: str
    reply_bytes: int
    is_large: bool

    def request(self, request: InferenceRequest) -> None:
        """Set in a request what is computed for it."""
        request.explanation = self.computed
        request.logits = True
        request.is_large = request.is_large or self.is_large
        ranks = [-choice for one in self.selected for choice in one.choices if choice < 0]
        request.top_k = max(request.top_k, *ranks, 1)
        if self.computed.grids:  # many runs, which interactive requests must not wait for
            request.bulk = True


def plan_explanations(
    message: pb.ClassifyRequest, version: LoadedVersion, limits: ExplanationLimits
) -> PlannedExplanations:
    """Check the explanations that a request selects, and plan what is computed for them.

    Raises:
        InvalidInputError: The version doesn't offer one of them, they exceed a limit, or a class
            or a value is invalid.
        BundleRejectedError: The provider can't run the explanations of the version's graph.
    """
    if version.manifest.task != mpb.TASK_CLASSIFICATION:
        model, number = version.key
        raise InvalidInputError(
            f"{model} v{number} has no classes to explain; request its feature maps instead"
        )
    selections, count = message.explanations, len(message.explanations)
    if count > limits.max_explanations:
        raise InvalidInputError(
            f"the request asks for {count} explanations; at most {limits.max_explanations} are "
            "computed; split it"
        )
    planner = _Planner(version, offer(version, limits))
    selected = [planner.plan(selection) for selection in selections]
    grids = dict.fromkeys(one.grid for one in selected if one.grid is not None)
    _check_occlusion(list(grids), len(message.inputs), limits)
    heat_bytes = sum(planner.heat_bytes(one) for one in selected)
    rest_bytes = sum(planner.rest_bytes(one) for one in selected)
    in_graph = [one for one in selected if one.method in _GRAPH_METHODS]
    has_eigen = any(one.method == pb.EXPLANATION_METHOD_EIGEN_CAM for one in selected)
    choices = list(dict.fromkeys(choice for one in in_graph for choice in one.choices))
    computed = ExplanationPlan(
        np.array([choices], np.int64).reshape(1, -1),
        has_eigen,
        tuple(grids),
        _neutral_color(version.manifest) if grids else np.zeros(0, np.uint8),
        tuple(METHOD_NAMES[one.method] for one in selected),
    )
    return PlannedExplanations(
        selected,
        computed,
        {choice: column for column, choice in enumerate(choices)},
        version.labels,
        planner.offer.tensor,
        heat_bytes + rest_bytes,
        has_eigen or bool(grids) or heat_bytes * len(message.inputs) > _LARGE_BYTES,
    )


class _Planner:
    """Plans the explanations of requests to one version."""

    def __init__(self, version: LoadedVersion, offer: ExplanationOffer) -> None:
        self._version = version
        self.offer = offer
        is_image = version.manifest.input.kind == mpb.INPUT_KIND_IMAGE
        height, width, *_ = (*version.input_shape, 0)
        self.image = (height, width) if is_image else None

    def plan(self, selection: pb.ExplanationSelection) -> PlannedExplanation:
        """Check one selection."""
        method = selection.method or pb.EXPLANATION_METHOD_GRAD_CAM
        if method not in self.offer.methods:
            raise self._not_offered(method)
        target, against = -1, None
        if selection.HasField("target"):
            target = class_choice(selection.target, self._version)
        if selection.HasField("against"):
            against = class_choice(selection.against, self._version)
        if against is not None and method == pb.EXPLANATION_METHOD_EIGEN_CAM:
            raise InvalidInputError(
                "the heat of eigen-cam is the same for all classes, so it has no contrast; leave "
                "out 'against', or choose another method"
            )
        if against == target:
            raise InvalidInputError("a class is contrasted with itself; choose another one")
        data_type = selection.dtype or mpb.DATA_TYPE_FLOAT32
        if data_type not in DTYPES:
            raise InvalidInputError(
                f"no dtype {data_type} for an explanation; it is UINT8, FLOAT16 or FLOAT32"
            )
        return PlannedExplanation(method, target, against, data_type, self._grid(selection, method))

    def heat_bytes(self, one: PlannedExplanation) -> int:
        """Return the size of the heat of an explanation."""
        cells = math.prod(self.offer.positions) if one.grid is None else one.grid.size
        return cells * DTYPES[one.data_type].itemsize

    def rest_bytes(self, one: PlannedExplanation) -> int:
        """Return the largest size of everything else in an explanation."""
        names = len(one.choices) * self._version.label_bytes[1] + len(self.offer.tensor.encode())
        return _EXPLANATION_BYTES + names

    def _grid(
        self, selection: pb.ExplanationSelection, method: pb.ExplanationMethod.ValueType
    ) -> OcclusionGrid | None:
        if method != pb.EXPLANATION_METHOD_OCCLUSION or self.image is None:
            if selection.HasField("occlusion"):
                raise InvalidInputError(
                    f"{METHOD_NAMES[method]} occludes nothing; leave out 'occlusion', or set "
                    "the method to occlusion"
                )
            return None
        cells = selection.occlusion.cells or DEFAULT_CELLS
        window = selection.occlusion.window or DEFAULT_WINDOW
        largest = min(self.image)
        if not selection.occlusion.cells:
            cells = min(cells, largest)
        if not MIN_CELLS <= cells <= largest:
            raise InvalidInputError(
                f"the grid has {cells} cells a side; it is {MIN_CELLS} to {largest}"
            )
        if not 1 <= window <= cells:  # NaN is outside too
            raise InvalidInputError(f"the window is {window:g} cells; it is 1 to {cells}")
        return OcclusionGrid(cells, float(window))

    def _not_offered(
        self, method: pb.ExplanationMethod.ValueType
    ) -> InvalidInputError | BundleRejectedError:
        model, number = self._version.key
        name = METHOD_NAMES.get(method)
        offered = " and ".join(METHOD_NAMES[one] for one in self.offer.methods) or "none"
        if name is None:
            return InvalidInputError(f"no explanation method {method}; {model} offers: {offered}")
        if method == pb.EXPLANATION_METHOD_OCCLUSION:
            why = "it takes no images" if self.image is None else "this server has turned it off"
            return InvalidInputError(
                f"{model} v{number} can't be explained by occlusion: {why}; it offers: {offered}"
            )
        if self._version.model.unexplained is not None:
            return BundleRejectedError(
                "provider",
                f"{model} v{number} can't be explained by {name} here: "
                f"{self._version.model.unexplained}; it offers: {offered}",
            )
        if not self.offer.tensor:
            return InvalidInputError(
                f"{model} v{number} has no {name}; add it to the bundle with "
                f"'convscope-exporter explain'; it offers: {offered}"
            )
        return InvalidInputError(
            f"{model} v{number} can't be explained by {name}, because its classes are no linear "
            f"function of {self.offer.tensor!r}; it offers: {offered}"
        )


def _check_occlusion(
    grids: Sequence[OcclusionGrid], inputs: int, limits: ExplanationLimits
) -> None:
    images = inputs * sum(grid.size for grid in grids)
    if images > limits.max_occluded_images:
        raise InvalidInputError(
            f"the explanations would run {images:,} occluded images; at most "
            f"{limits.max_occluded_images:,} are allowed; "
            + _advice(len(grids), inputs, limits.max_occluded_images)
        )


def _advice(grids: int, inputs: int, max_images: int) -> str:
    """Return how to stay within the limit: the largest grid that a request may have."""
    cells = math.isqrt(max_images // (grids * inputs))
    fewer = "use fewer inputs" if inputs > 1 else "use fewer different grids"
    if cells < MIN_CELLS:
        return fewer
    largest = f"use at most {cells} cells a side"
    return f"{largest}, or {fewer}" if inputs > 1 or grids > 1 else largest


def _neutral_color(manifest: mpb.ModelManifest) -> NDArray[np.uint8]:
    """Return the color that the graph normalizes to about zero, uint8 [channels]."""
    channels = manifest.input.shape[-1]
    mean = np.array(manifest.preprocessing.mean or [_GRAY], np.float32)
    if len(mean) not in (1, channels):
        mean = np.array([_GRAY], np.float32)
    color = np.rint(np.clip(255 * mean, 0, 255)).astype(np.uint8)
    return np.broadcast_to(color, (channels,))
