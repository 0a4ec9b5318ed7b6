"""From a network in PyTorch to a published bundle, through every gate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from convscope.bundle.manifest import SCHEMA_VERSION
from convscope.bundle.writer import write_bundle
from convscope.exporter.architectures.registry import STAGES
from convscope.exporter.comparison import OutputDifference, open_graph, run_session
from convscope.exporter.conversion.golden import GoldenInput, golden_inputs, reference_arrays
from convscope.exporter.conversion.graph import (
    ServableNetwork,
    export_graph,
    feature_map_shapes,
)
from convscope.exporter.conversion.parity import check_parity
from convscope.exporter.conversion.stages import find_stages
from convscope.exporter.datasets import Split
from convscope.exporter.errors import ExporterError, NetworkError
from convscope.exporter.preprocess import ImagePreprocessing, InputRule
from convscope.exporter.pyramid.facts import feature_map_facts
from convscope.exporter.weights import Weights
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Conversion", "Source", "class_count", "convert", "servable"]

PROBABILITY_TOLERANCE = 0.03
MEASURE_BATCH = 250
RESERVED_NAMES = ("logits", "probabilities", "images", "signal", "clip")


@dataclass(frozen=True, slots=True)
class Source:
    """What is converted.

    Args:
        model: The bundle's model name.
        version: The bundle's version.
        architecture: The network's name in the registry.
        network: The network, with its weights.
        preprocessing: What it expects as its input.
        labels: The name of each class; none, for a bank of filters.
        feature_maps: The paths of the modules whose outputs are feature maps,
            each as MODULE or MODULE=NAME; STAGES stands for the last module of
            each resolution.
        weights: Where the weights come from.
        golden: The golden inputs, images encoded.
        test: What its accuracy is measured on, and the name of that split.
    """

    model: str
    version: int
    architecture: str
    network: nn.Module
    preprocessing: InputRule
    labels: Sequence[str]
    feature_maps: Sequence[str]
    weights: Weights
    golden: Sequence[GoldenInput]
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
    parity: list[OutputDifference]
    metrics: list[pb.Metric] = field(default_factory=list)


def convert(source: Source, repository: Path) -> Conversion:
    """Convert a network, hold it against PyTorch, and publish it.

    Raises:
        ExporterError: A step failed; nothing was published.
    """
    expects = source.preprocessing
    inputs = golden_inputs(source.golden, expects)
    example = torch.from_numpy(inputs[:1])
    network = servable(source)
    shapes = feature_map_shapes(network, example)
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        model = export_graph(network, example, path, expects.input_spec().name)
        graph = path.read_bytes()
    parity = check_parity(network, graph, inputs)
    metrics = _measure(graph, source.test)
    facts = feature_map_facts(model, network.feature_map_names)
    manifest = _manifest(source, metrics)
    for name, shape in shapes.items():
        manifest.feature_maps.add(
            name=name,
            module=network.feature_map_paths[name],
            channels=shape.channels,
            height=shape.height,
            width=shape.width,
            stride=facts[name].stride,
        )
    directory = write_bundle(
        repository,
        manifest,
        lambda path: _write(path, graph),
        reference_arrays(network, source.golden, inputs),
    )
    return Conversion(directory, parity, metrics)


def servable(source: Source) -> ServableNetwork:
    """Wrap a network as its bundle runs it.

    Raises:
        ExporterError: Two feature maps have one name, a module isn't there, or
            the number of classes isn't that of the labels.
    """
    expects = source.preprocessing
    planes = _planes(expects)
    if source.labels:
        found = class_count(source.network, expects)
        if found != len(source.labels):
            raise NetworkError(
                f"the network has {found} classes, and there are {len(source.labels)} labels"
            )
    return ServableNetwork(
        source.network,
        expects.mean,
        expects.std,
        _named_feature_maps(source, planes),
        classifies=bool(source.labels),
    ).eval()


def _planes(expects: InputRule) -> Tensor:
    """An input of nothing, float32 [1, C, ...], as the network itself takes it."""
    if isinstance(expects, ImagePreprocessing):
        return torch.zeros(1, expects.channels, expects.height, expects.width)
    return torch.zeros(1, *expects.shape)


@torch.inference_mode()
def class_count(network: nn.Module, expects: InputRule) -> int:
    """Run an input of nothing, and count the classes that come out.

    Raises:
        NetworkError: The network can't take the input, or doesn't give logits.
    """
    planes = _planes(expects)
    try:
        output = network.eval()(planes)
    except RuntimeError as error:
        raise NetworkError(
            f"the network can't take {list(planes.shape)}: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(output, Tensor) or output.ndim != 2:
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise NetworkError(f"the network gives {found}; a classifier gives logits [N, classes]")
    return int(output.shape[1])


def _named_feature_maps(source: Source, planes: Tensor) -> dict[str, str]:
    """The name of each feature map, and the path of its module."""
    named: dict[str, str] = {}
    for choice in _chosen_feature_maps(source, planes):
        path, _, name = choice.partition("=")
        name = name or path
        if name in named or name in RESERVED_NAMES:
            raise ExporterError(
                f"a feature map can't be named {name!r}: the name is taken; "
                f"choose another with --feature-map {path}=NAME"
            )
        named[name] = path
    return named


def _chosen_feature_maps(source: Source, planes: Tensor) -> Iterator[str]:
    for choice in source.feature_maps:
        if choice == STAGES:
            yield from find_stages(source.network, planes)
        else:
            yield choice


def _write(path: Path, graph: bytes) -> None:
    path.write_bytes(graph)


def _measure(graph: bytes, test: tuple[str, Split] | None) -> list[pb.Metric]:
    """Measure the accuracy of the graph that will be served, not of the network behind it."""
    if test is None:
        return []
    name, split = test
    session = open_graph(graph)
    feed = session.get_inputs()[0].name
    right = 0
    for start in range(0, len(split.labels), MEASURE_BATCH):
        inputs = np.asarray(split.inputs[start : start + MEASURE_BATCH])
        (logits,) = run_session(session, feed, inputs, ["logits"])
        right += int((logits.argmax(axis=1) == split.labels[start : start + MEASURE_BATCH]).sum())
    return [pb.Metric(name="top1_accuracy", value=right / len(split.labels), split=name)]


def _manifest(source: Source, metrics: list[pb.Metric]) -> pb.ModelManifest:
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
        activation=pb.ACTIVATION_SOFTMAX if classifies else pb.ACTIVATION_NONE,
        precision=pb.PRECISION_FP32,
        golden=pb.GoldenGate(
            inputs=len(source.golden), probability_tolerance=PROBABILITY_TOLERANCE
        ),
        provenance=_provenance(source, metrics),
    )


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
