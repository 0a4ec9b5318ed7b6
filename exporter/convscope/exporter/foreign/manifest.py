"""The manifest and the golden samples of an import."""

from collections.abc import Mapping, Sequence
from importlib import metadata

from convscope.bundle.manifest import SCHEMA_VERSION
from convscope.exporter.foreign.image_input import ImageInput
from convscope.exporter.foreign.maps import ForeignMap
from convscope.exporter.foreign.source import ForeignSource
from convscope.exporter.outputs.semantics import Semantics
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.pyramid.facts import FeatureMapFacts
from convscope.v1 import manifest_pb2 as pb

__all__ = ["add_maps", "add_provenance", "describe"]

PROBABILITY_TOLERANCE = 0.03


def describe(
    source: ForeignSource,
    image: ImageInput,
    semantics: Semantics,
    labels: Sequence[str],
    preprocessing: ImagePreprocessing,
    golden: int,
) -> pb.ModelManifest:
    """Return the manifest of an import, without its provenance and feature maps."""
    return pb.ModelManifest(
        schema_version=SCHEMA_VERSION,
        model=source.model,
        version=source.version,
        task=pb.TASK_CLASSIFICATION,
        input=pb.InputSpec(
            name="images",
            kind=pb.INPUT_KIND_IMAGE,
            dtype=pb.DATA_TYPE_UINT8,
            shape=(image.height, image.width, image.channels),
        ),
        preprocessing=preprocessing.to_proto(),
        labels=labels,
        activation=semantics.manifest_activation,
        precision=pb.PRECISION_FP32,
        golden=pb.GoldenGate(inputs=golden, probability_tolerance=PROBABILITY_TOLERANCE),
    )


def add_provenance(
    manifest: pb.ModelManifest, source: ForeignSource, weights: str, parameters: int
) -> None:
    """Add the origin of the weights."""
    manifest.provenance.CopyFrom(
        pb.Provenance(
            architecture=source.path.stem,
            weights=weights,
            weights_license=source.license,
            dataset=source.dataset,
            parameters=parameters,
            onnx_version=metadata.version("onnx"),
            convscope_version=metadata.version("convscope"),
        )
    )
    manifest.provenance.created_at.GetCurrentTime()


def add_maps(
    manifest: pb.ModelManifest, maps: Sequence[ForeignMap], facts: Mapping[str, FeatureMapFacts]
) -> None:
    """Add the description of each feature map; a stride of 0 is unknown."""
    for one in maps:
        channels, height, width = one.shape
        manifest.feature_maps.add(
            name=one.name,
            module=one.tensor,
            channels=channels,
            height=height,
            width=width,
            stride=facts[one.name].stride if one.name in facts else 0.0,
        )
