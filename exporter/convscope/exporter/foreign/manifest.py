"""The manifest and the golden samples of an import."""

from collections.abc import Sequence
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.foreign.head import Head
from convscope.exporter.foreign.image_input import ImageInput
from convscope.exporter.foreign.maps import ForeignMap
from convscope.exporter.foreign.source import ForeignSource
from convscope.exporter.graphs.sessions import Arrays
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.pyramid.facts import FeatureMapFacts
from convscope.v1 import manifest_pb2 as pb

__all__ = ["add_maps", "add_provenance", "describe", "golden_arrays"]

SCHEMA_VERSION = 1
PROBABILITY_TOLERANCE = 0.03
_ACTIVATIONS = {"softmax": pb.ACTIVATION_SOFTMAX, "sigmoid": pb.ACTIVATION_SIGMOID}


def describe(
    source: ForeignSource,
    image: ImageInput,
    head: Head,
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
        activation=_ACTIVATIONS[head.activation],
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
    manifest: pb.ModelManifest, maps: Sequence[ForeignMap], facts: dict[str, FeatureMapFacts]
) -> None:
    """Add the description of each feature map."""
    for one in maps:
        channels, height, width = one.shape
        manifest.feature_maps.add(
            name=one.name,
            module=one.tensor,
            channels=channels,
            height=height,
            width=width,
            stride=facts[one.name].stride,
        )


def golden_arrays(
    golden: Sequence[bytes], expected: Arrays, maps: Sequence[ForeignMap]
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of golden.npz: encoded photos, and the original's outputs for them.

    Args:
        golden: The photos.
        expected: The original's outputs for the photos, and possibly for further images.
        maps: The feature maps.
    """
    arrays: dict[str, NDArray[np.generic]] = {
        f"input_{index}": np.frombuffer(photo, np.uint8) for index, photo in enumerate(golden)
    }
    for name in ("logits", "probabilities"):
        arrays[name] = expected[name][: len(golden)]
    for one in maps:
        means = expected[one.name].mean(axis=(2, 3))  # [n, channels]
        arrays[f"feature_map_means/{one.name}"] = means[: len(golden)]
    return arrays
