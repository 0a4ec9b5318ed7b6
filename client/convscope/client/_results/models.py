"""Descriptions of the server's models, from messages."""

from collections.abc import Sequence
from datetime import UTC

from convscope.client._inputs.methods import method_name
from convscope.client._results.model_info import ModelInfo, ModelList, ModelSummary
from convscope.client._results.model_parts import (
    Execution,
    ExplanationInfo,
    FeatureMapInfo,
    InputInfo,
    Metric,
    Provenance,
    ProviderCandidate,
    Resize,
)
from convscope.client._results.preprocessing import preprocessing_line
from convscope.client.errors import InvalidInputError
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["decode_model", "decode_models", "only_model"]


_PLACEMENTS = {mpb.PLACEMENT_CENTER: "center", mpb.PLACEMENT_TOP_LEFT: "top-left"}


def decode_models(response: pb.ListModelsResponse) -> list[ModelSummary]:
    """Return the versions of a listing."""
    return ModelList(
        ModelSummary(
            model=summary.model,
            version=summary.version,
            aliases=tuple(summary.aliases),
            is_default=summary.is_default,
            task=_task(summary),
            input=_decode_input(summary.input),
            num_classes=summary.num_classes,
            feature_maps=tuple(summary.feature_maps),
            provider=summary.provider,
            precision=_precision(summary),
            fallback_from=summary.fallback_from,
            explanation_methods=tuple(map(method_name, summary.explanation_methods)),
            compute_precision=summary.compute_precision,
        )
        for summary in response.models
    )


def only_model(summaries: Sequence[ModelSummary]) -> str:
    """Return the name of the only model of a listing.

    Raises:
        InvalidInputError: There are several models, or none.
    """
    names = sorted({summary.model for summary in summaries})
    if len(names) == 1:
        return names[0]
    if not names:
        raise InvalidInputError("no model is named, and the server has none that is ready")
    raise InvalidInputError(
        f"no model is named, and the server has {len(names)}; give one with model: "
        f"{', '.join(names)}"
    )


def decode_model(response: pb.GetModelResponse) -> ModelInfo:
    """Return the description of one version."""
    summary, manifest = response.summary, response.manifest
    return ModelInfo(
        model=summary.model,
        version=summary.version,
        aliases=tuple(summary.aliases),
        is_default=summary.is_default,
        task=_task(summary),
        input=_decode_input(summary.input),
        labels=tuple(manifest.labels),
        feature_maps=tuple(
            FeatureMapInfo(spec.name, spec.channels, spec.height, spec.width, spec.stride)
            for spec in manifest.feature_maps
        ),
        provider=summary.provider,
        precision=_precision(summary),
        provenance=_decode_provenance(manifest.provenance),
        execution=_decode_execution(response.execution) if response.HasField("execution") else None,
        fallback_from=summary.fallback_from,
        resize=_decode_resize(manifest.preprocessing),
        preprocessing=preprocessing_line(manifest),
        activation=_activation(manifest),
        nonfinite_results=manifest.nonfinite_results,
        nonfinite_inputs=tuple(manifest.nonfinite_inputs),
        explanations=_decode_explanations(response),
        compute_precision=summary.compute_precision,
        candidates=tuple(
            ProviderCandidate(
                provider=one.provider,
                compute_precision=one.compute_precision,
                images_per_second=one.images_per_second,
                relative_speed=one.relative_speed,
                problem=one.problem,
            )
            for one in response.candidates
        ),
    )


def _decode_resize(message: mpb.Preprocessing) -> Resize | None:
    if not message.HasField("resize"):
        return None
    resize = message.resize
    return Resize(
        shortest_edge=resize.shortest_edge,
        height=resize.height,
        width=resize.width,
        padding=tuple(resize.padding.color),
        placement=_PLACEMENTS.get(resize.padding.placement, ""),
    )


def _decode_input(spec: mpb.InputSpec) -> InputInfo:
    kind = mpb.InputKind.Name(spec.kind).removeprefix("INPUT_KIND_").lower()
    dtype = mpb.DataType.Name(spec.dtype).removeprefix("DATA_TYPE_").lower()
    return InputInfo(spec.name, kind, dtype, tuple(spec.shape))


def _decode_provenance(message: mpb.Provenance) -> Provenance:
    known = message.HasField("created_at")
    return Provenance(
        architecture=message.architecture,
        weights=message.weights,
        weights_license=message.weights_license,
        dataset=message.dataset,
        metrics=tuple(Metric(m.name, m.value, m.split) for m in message.metrics),
        parameters=message.parameters,
        torch_version=message.torch_version,
        onnx_version=message.onnx_version,
        convscope_version=message.convscope_version,
        created_at=message.created_at.ToDatetime(tzinfo=UTC) if known else None,
        parent=message.parent,
    )


def _decode_execution(message: pb.Execution) -> Execution:
    return Execution(
        runners=message.runners,
        threads=message.threads,
        lone_threads=message.lone_threads,
        max_batch=message.max_batch,
        reason=message.reason,
        inline=message.inline,
    )


def _decode_explanations(response: pb.GetModelResponse) -> ExplanationInfo | None:
    if not response.HasField("explanations"):
        return None
    support = response.explanations
    return ExplanationInfo(
        methods=tuple(map(method_name, support.methods)),
        tensor=support.tensor,
        positions=tuple(support.positions),
        max_explanations=support.max_explanations,
        max_rank=support.max_rank,
        max_occluded_images=support.max_occluded_images,
    )


def _task(summary: pb.ModelSummary) -> str:
    return mpb.Task.Name(summary.task).removeprefix("TASK_").lower()


def _activation(manifest: mpb.ModelManifest) -> str:
    return mpb.Activation.Name(manifest.activation).removeprefix("ACTIVATION_").lower()


def _precision(summary: pb.ModelSummary) -> str:
    return mpb.Precision.Name(summary.precision).removeprefix("PRECISION_").lower()
