"""Which explanations a version offers."""

from collections.abc import Sequence
from dataclasses import dataclass

from convscope.server.frontend.reply_limits import ExplanationLimits
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["METHOD_NAMES", "ExplanationOffer", "offer"]

# The methods by the names that people use, in the order in which they are listed.
METHOD_NAMES = {
    pb.EXPLANATION_METHOD_GRAD_CAM: "grad-cam",
    pb.EXPLANATION_METHOD_CAM: "cam",
    pb.EXPLANATION_METHOD_EIGEN_CAM: "eigen-cam",
    pb.EXPLANATION_METHOD_OCCLUSION: "occlusion",
}


@dataclass(frozen=True, slots=True)
class ExplanationOffer:
    """Which explanations a version offers.

    Args:
        methods: The methods.
        tensor: The tensor that they explain; empty if only occlusion is offered.
        positions: The shape of the heat; empty if only occlusion is offered.
        max_rank: The largest rank of a class.
    """

    methods: Sequence[pb.ExplanationMethod.ValueType]
    tensor: str
    positions: tuple[int, ...]
    max_rank: int


def offer(version: LoadedVersion, limits: ExplanationLimits) -> ExplanationOffer:
    """Return which explanations a version offers."""
    manifest = version.manifest
    methods: list[pb.ExplanationMethod.ValueType] = []
    has_heat = version.is_explained
    if has_heat:
        methods.append(pb.EXPLANATION_METHOD_GRAD_CAM)
        if manifest.explanation.linear:
            methods.append(pb.EXPLANATION_METHOD_CAM)
        methods.append(pb.EXPLANATION_METHOD_EIGEN_CAM)
    classifies = manifest.task == mpb.TASK_CLASSIFICATION
    is_image = manifest.input.kind == mpb.INPUT_KIND_IMAGE
    if classifies and is_image and limits.max_occluded_images:
        methods.append(pb.EXPLANATION_METHOD_OCCLUSION)
    return ExplanationOffer(
        methods,
        manifest.explanation.tensor if has_heat else "",
        tuple(manifest.explanation.positions) if has_heat else (),
        len(manifest.labels),
    )
