"""The manifest of a converted network."""

from collections.abc import Mapping, Sequence
from importlib import metadata

import torch

from convscope.bundle.manifest import SCHEMA_VERSION
from convscope.exporter.conversion.graph import FeatureMapShape
from convscope.exporter.conversion.source import Source
from convscope.exporter.outputs.semantics import Semantics
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.pyramid.facts import FeatureMapFacts
from convscope.v1 import manifest_pb2 as pb

__all__ = ["add_feature_maps", "describe"]

PROBABILITY_TOLERANCE = 0.03


def describe(
    source: Source,
    semantics: Semantics | None,
    metrics: Sequence[pb.Metric],
    golden_inputs: int,
) -> pb.ModelManifest:
    """Return the manifest of a conversion, without its feature maps.

    Args:
        source: The network and its description.
        semantics: What a classifier returns; None for a bank of filters.
        metrics: The measured figures.
        golden_inputs: The number of golden inputs.
    """
    expects = source.preprocessing
    classifies = bool(source.labels)
    return pb.ModelManifest(
        schema_version=SCHEMA_VERSION,
        model=source.model,
        version=source.version,
        task=pb.TASK_CLASSIFICATION if classifies else pb.TASK_FEATURE_EXTRACTION,
        input=expects.input_spec(),
        preprocessing=expects.to_proto() if isinstance(expects, ImagePreprocessing) else None,
        labels=source.labels,
        activation=semantics.manifest_activation if semantics else pb.ACTIVATION_NONE,
        precision=pb.PRECISION_FP32,
        golden=pb.GoldenGate(inputs=golden_inputs, probability_tolerance=PROBABILITY_TOLERANCE),
        provenance=_provenance(source, metrics),
    )


def add_feature_maps(
    manifest: pb.ModelManifest,
    modules: Mapping[str, str],
    shapes: Mapping[str, FeatureMapShape],
    facts: Mapping[str, FeatureMapFacts],
) -> None:
    """Add the description of each feature map.

    Args:
        manifest: The manifest.
        modules: The path of each feature map's module.
        shapes: The shape of each feature map, in the order of the outputs.
        facts: The facts of each feature map.
    """
    for name, shape in shapes.items():
        manifest.feature_maps.add(
            name=name,
            module=modules[name],
            channels=shape.channels,
            height=shape.height,
            width=shape.width,
            stride=facts[name].stride,
        )


def _provenance(source: Source, metrics: Sequence[pb.Metric]) -> pb.Provenance:
    provenance = pb.Provenance(
        architecture=source.architecture,
        weights=source.weights.source,
        weights_license=source.weights.license,
        dataset=source.weights.dataset,
        metrics=metrics,
        parameters=sum(parameter.numel() for parameter in source.network.parameters()),
        torch_version=torch.__version__,
        onnx_version=metadata.version("onnx"),
        convscope_version=metadata.version("convscope"),
    )
    provenance.created_at.GetCurrentTime()
    return provenance
