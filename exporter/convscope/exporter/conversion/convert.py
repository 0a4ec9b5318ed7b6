"""Converts a network in PyTorch to a published bundle, through every gate."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from convscope.bundle.writer import write_bundle
from convscope.exporter.conversion.gates import check_graph_results
from convscope.exporter.conversion.golden import golden_inputs, reference_arrays
from convscope.exporter.conversion.graph import ServableNetwork, export_graph, feature_map_shapes
from convscope.exporter.conversion.heat_reference import torch_heat
from convscope.exporter.conversion.in_place import compute_out_of_place
from convscope.exporter.conversion.manifest import add_feature_maps, describe
from convscope.exporter.conversion.reference import Reference
from convscope.exporter.conversion.repeatability import check_repeatable
from convscope.exporter.conversion.servable import servable
from convscope.exporter.conversion.size import check_size
from convscope.exporter.conversion.source import Source
from convscope.exporter.conversion.untrained import check_trained
from convscope.exporter.datasets import Split
from convscope.exporter.evaluation.metrics import manifest_metrics, measure
from convscope.exporter.explanations.explaining import Explained, explain, unless_left_out
from convscope.exporter.graphs.comparison import OutputDifference
from convscope.exporter.graphs.sessions import open_graph, run_session
from convscope.exporter.graphs.static_graph import StaticGraph, static_graph
from convscope.exporter.outputs.probes import is_noise
from convscope.exporter.outputs.semantics import Semantics
from convscope.exporter.pyramid.facts import facts_of
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Conversion", "convert"]

MEASURE_BATCH = 250


@dataclass(frozen=True, slots=True)
class Conversion:
    """A published bundle.

    Args:
        directory: The bundle's directory.
        parity: The difference of each output from PyTorch's.
        metrics: The accuracy of the exported graph.
        network: The network in PyTorch, as its bundle runs it.
        explanation: A line about the graph's explanations; empty for a bank of filters.
    """

    directory: Path
    parity: list[OutputDifference]
    metrics: list[pb.Metric]
    network: ServableNetwork
    explanation: str

    @property
    def semantics(self) -> Semantics | None:
        """What the network returns; None for a bank of filters."""
        return self.network.semantics


def convert(
    source: Source, repository: Path, feature_maps: Mapping[str, str] | None = None
) -> Conversion:
    """Convert a network, compare it with PyTorch, and publish it.

    Args:
        source: The network.
        repository: The repository of the bundle.
        feature_maps: What check_declared has returned for the network, if it was called already.

    Raises:
        ExporterError: A step failed; nothing was published.
    """
    check_size(source.network)
    reference = Reference(source)
    network = servable(source, reference, feature_maps)
    encoded = source.golden(network) if callable(source.golden) else source.golden
    inputs = golden_inputs(encoded, source.preprocessing)
    example = torch.from_numpy(inputs[:1])
    shapes = feature_map_shapes(network, example)
    check_repeatable(network, inputs[:1])
    noise = next(row for text, row in reference.inputs_by_description.items() if is_noise(text))
    compute_out_of_place(network, torch.from_numpy(np.stack([inputs[0], noise])))
    graph = export_graph(network, example, source.preprocessing.input_spec().name)
    session = open_graph(graph.data)
    results = check_graph_results(reference, network, graph.model, session, inputs)
    metrics = _measure(session, source.test)
    manifest = describe(source, network.semantics, metrics, len(encoded))
    manifest.nonfinite_results = bool(results.nonfinite)
    manifest.nonfinite_inputs.extend(results.nonfinite)
    static = static_graph(graph.model)
    facts = facts_of(static, network.feature_map_names)
    add_feature_maps(manifest, network.feature_map_paths, shapes, facts)
    check_trained(source)  # last, so that a faulty network is explained first
    explained, line = _explain(source, network, graph.model, static, inputs)
    data, heat = (graph.data, None) if explained is None else (explained.data, explained.heat)
    if explained is not None:
        explained.describe_in(manifest)
    directory = write_bundle(
        repository,
        manifest,
        lambda path: _write(path, data),
        reference_arrays(network, encoded, results.golden, heat),
    )
    return Conversion(directory, results.parity, metrics, network, line)


def _explain(
    source: Source,
    network: ServableNetwork,
    model: onnx.ModelProto,
    static: StaticGraph,
    inputs: NDArray[np.generic],
) -> tuple[Explained | None, str]:
    """Add heat to the graph, which is changed, and compare it with PyTorch's autograd."""
    if not source.labels:
        return None, ""
    return unless_left_out(
        source.explanations,
        lambda: explain(
            model, inputs, len(source.labels), partial(torch_heat, network, inputs), static
        ),
    )


def _write(path: Path, graph: bytes) -> None:
    path.write_bytes(graph)


def _measure(session: ort.InferenceSession, test: tuple[str, Split] | None) -> list[pb.Metric]:
    """Measure the graph that will be served, rather than the network."""
    if test is None:
        return []
    name, split = test
    input_name = session.get_inputs()[0].name
    rows = []
    for start in range(0, len(split.labels), MEASURE_BATCH):
        batch = np.asarray(split.inputs[start : start + MEASURE_BATCH])
        rows += run_session(session, input_name, batch, ["probabilities"])
    probabilities = np.concatenate(rows)
    # As in an evaluation, a result that isn't finite is no prediction.
    finite = np.isfinite(probabilities).all(axis=1)
    if not finite.any():
        return []
    labels = list(map(str, range(probabilities.shape[1])))
    return manifest_metrics(measure(probabilities[finite], split.labels[finite], labels), name)
