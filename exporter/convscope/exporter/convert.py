"""From a network in PyTorch to a published bundle, through every gate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convscope.exporter.bundle import publish
from convscope.exporter.datasets import Split
from convscope.exporter.golden import golden_arrays, golden_inputs
from convscope.exporter.graph import (
    FeatureMapShape,
    ServableNetwork,
    export_graph,
    feature_map_shapes,
)
from convscope.exporter.parity import OutputParity, check_parity, open_session
from convscope.exporter.preprocess import ImagePreprocessing
from convscope.exporter.weights import Weights
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Conversion", "Source", "convert"]

SCHEMA_VERSION = 1
PROBABILITY_TOLERANCE = 0.03
MEASURE_BATCH = 250


@dataclass(frozen=True, slots=True)
class Source:
    """What is converted.

    Args:
        model: The bundle's model name.
        version: The bundle's version.
        architecture: The network's name in the registry.
        network: The network, with its weights.
        preprocessing: What it expects of an image.
        labels: The name of each class.
        feature_maps: The paths of the modules whose outputs are feature maps.
        weights: Where the weights come from.
        golden: The golden inputs, encoded.
        test: What its accuracy is measured on, and the name of that split.
    """

    model: str
    version: int
    architecture: str
    network: nn.Module
    preprocessing: ImagePreprocessing
    labels: Sequence[str]
    feature_maps: Sequence[str]
    weights: Weights
    golden: Sequence[bytes]
    test: tuple[str, Split] | None = None


@dataclass(frozen=True, slots=True)
class Conversion:
    """A published bundle.

    Args:
        directory: Where it lies.
        parity: How far each output is from PyTorch's.
        metrics: What was measured on the exported graph.
    """

    directory: Path
    parity: list[OutputParity]
    metrics: list[pb.Metric] = field(default_factory=list)


def convert(source: Source, repository: Path) -> Conversion:
    """Convert a network, hold it against PyTorch, and publish it.

    Raises:
        ExporterError: A step failed; nothing was published.
    """
    preprocessing = source.preprocessing
    network = ServableNetwork(
        source.network,
        preprocessing.mean,
        preprocessing.std,
        {path: path for path in source.feature_maps},
    ).eval()
    inputs = golden_inputs(source.golden, preprocessing)
    shapes = feature_map_shapes(network, torch.from_numpy(inputs[:1]))
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        export_graph(network, torch.from_numpy(inputs[:1]), path)
        graph = path.read_bytes()
    parity = check_parity(network, graph, inputs)
    metrics = _measure(graph, source.test)
    manifest = _manifest(source, shapes, metrics)
    directory = publish(
        repository,
        manifest,
        lambda path: _write(path, graph),
        golden_arrays(network, source.golden, inputs),
    )
    return Conversion(directory, parity, metrics)


def _write(path: Path, graph: bytes) -> None:
    path.write_bytes(graph)


def _measure(graph: bytes, test: tuple[str, Split] | None) -> list[pb.Metric]:
    """Measure the accuracy of the graph that will be served, not of the network behind it."""
    if test is None:
        return []
    name, split = test
    session = open_session(graph)
    right = 0
    for start in range(0, len(split.labels), MEASURE_BATCH):
        images: NDArray[np.uint8] = split.images[start : start + MEASURE_BATCH]
        (logits,) = session.run(["logits"], {"images": images})
        right += int((logits.argmax(axis=1) == split.labels[start : start + MEASURE_BATCH]).sum())
    return [pb.Metric(name="top1_accuracy", value=right / len(split.labels), split=name)]


def _manifest(
    source: Source, shapes: dict[str, FeatureMapShape], metrics: list[pb.Metric]
) -> pb.ModelManifest:
    preprocessing = source.preprocessing
    manifest = pb.ModelManifest(
        schema_version=SCHEMA_VERSION,
        model=source.model,
        version=source.version,
        task=pb.TASK_CLASSIFICATION,
        input=pb.InputSpec(
            name="images",
            kind=pb.INPUT_KIND_IMAGE,
            dtype=pb.DATA_TYPE_UINT8,
            shape=(preprocessing.height, preprocessing.width, preprocessing.channels),
        ),
        preprocessing=preprocessing.to_proto(),
        labels=source.labels,
        activation=pb.ACTIVATION_SOFTMAX,
        precision=pb.PRECISION_FP32,
        golden=pb.GoldenGate(
            inputs=len(source.golden), probability_tolerance=PROBABILITY_TOLERANCE
        ),
        provenance=_provenance(source, metrics),
    )
    for name, shape in shapes.items():
        manifest.feature_maps.add(
            name=name,
            module=name,
            channels=shape.channels,
            height=shape.height,
            width=shape.width,
            stride=_stride(preprocessing, shape),
        )
    return manifest


def _stride(preprocessing: ImagePreprocessing, shape: FeatureMapShape) -> float:
    """The distance in pixels of two cells: the nearest power of two to the ratio of the sizes."""
    ratio = min(preprocessing.height / shape.height, preprocessing.width / shape.width)
    return float(2 ** round(math.log2(ratio)))


def _provenance(source: Source, metrics: list[pb.Metric]) -> pb.Provenance:
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
