"""`export`: a network with its weights becomes a bundle.

PyTorch is imported inside the command, so that `--help` answers at once.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.exporter.commands import options
from convscope.exporter.commands.console import (
    convert_and_report,
    errors_as_sentences,
    make_console,
    reserve_version,
)
from convscope.exporter.errors import ExporterError

if TYPE_CHECKING:
    from torch import nn

    from convscope.exporter.architectures import Architecture
    from convscope.exporter.architectures.resolve import DeclaredInput
    from convscope.exporter.architectures.weights import Weights
    from convscope.exporter.conversion.convert import Source
    from convscope.exporter.conversion.golden import GoldenInput
    from convscope.exporter.preprocessing import InputRule

__all__ = ["register"]

RANDOM_CLASSES = 10  # of a network with random weights, where nothing tells their number

WeightsFile = Annotated[
    Path | None,
    typer.Option(help="A .safetensors or .pth file, instead of the published weights."),
]
RandomWeights = Annotated[
    bool, typer.Option("--random-weights", help="No weights: to try out how it is served.")
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="A file with one label a line, or JSON; or a dataset's name. Of a network of your "
        "own, 0, 1, 2 and so on by default."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    architecture: options.Name,
    repository: options.Repository = Path("models"),
    name: options.Model = None,
    version: options.Version = None,
    weights: WeightsFile = None,
    random_weights: RandomWeights = False,
    labels: Labels = None,
    feature_map: options.FeatureMaps = None,
    input_shape: options.InputShape = None,
    mean: options.Mean = None,
    std: options.Std = None,
    shortest_edge: options.ShortestEdge = None,
    quiet: options.Quiet = False,
) -> None:
    """Convert a network with its published weights, or with those of a file."""
    with errors_as_sentences():
        console = make_console(quiet)
        with console.status("Loading PyTorch"):
            from convscope.exporter.architectures.resolve import DeclaredInput, resolve
            from convscope.exporter.conversion.convert import Source
        declared = DeclaredInput(input_shape, mean, std, shortest_edge)
        row = resolve(architecture, declared, has_labels=labels is not None)
        model = name or row.model_name
        number = reserve_version(repository, model, version, console)
        expects = _input(row, declared)
        with console.status("Loading the weights"):
            network, names = _build(row, expects, _labels(row, labels, random_weights))
            origin = _load(row, network, len(names), weights, random_weights)
        licence = f" ({origin.license})" if origin.license else ""
        console.print(f"weights   {origin.source}{licence}")
        source = Source(
            model=model,
            version=number,
            architecture=row.name,
            network=network,
            preprocessing=expects,
            labels=names,
            feature_maps=feature_map or row.feature_maps,
            weights=origin,
            golden=(),
        )
        convert_and_report(_with_golden(source, random_weights), repository, console)


def _input(row: "Architecture", declared: "DeclaredInput") -> "InputRule":
    """The row's own record; a tensor's shape may be declared, as no record knows it."""
    from convscope.exporter.preprocessing import TensorInput

    expects = row.preprocessing()
    if declared.shape is None:
        return expects
    rule = declared.rule(row.name)
    if rule != expects and not (
        isinstance(rule, TensorInput)
        and isinstance(expects, TensorInput)
        and len(rule.shape) == len(expects.shape)
    ):
        raise ExporterError(
            f"the input of {row.name} is that of its weights' record, {list(expects.shape)}; "
            "leave --input out"
        )
    return rule


def _labels(
    row: "Architecture", labels: str | None, random_weights: bool
) -> tuple[str, ...] | None:
    """The names of the classes; None if only the network knows how many there are."""
    from convscope.exporter.architectures.resolve import read_labels
    from convscope.exporter.datasets.registry import LABELS

    if not row.classifies:
        return ()
    if labels is not None:
        return read_labels(labels)
    if row.own:
        return None
    if known := row.labels():
        return known
    if row.dataset in LABELS:
        return LABELS[row.dataset]
    if random_weights:
        return _numbers(RANDOM_CLASSES)
    raise ExporterError(f"the classes of {row.name} have no names; give them with --labels FILE")


def _numbers(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))


def _build(
    row: "Architecture", expects: "InputRule", labels: tuple[str, ...] | None
) -> tuple["nn.Module", tuple[str, ...]]:
    """The network, and its labels: numbers where there are none."""
    import torch

    from convscope.exporter.conversion.convert import class_count

    torch.manual_seed(0)
    network = row.build(0 if labels is None else len(labels), expects.channels)
    return network, _numbers(class_count(network, expects)) if labels is None else labels


def _load(
    row: "Architecture", network: "nn.Module", classes: int, file: Path | None, random: bool
) -> "Weights":
    from convscope.exporter.architectures.resolve import load_file, load_published
    from convscope.exporter.architectures.weights import Weights

    if file is not None:
        return load_file(row, network, file, classes)
    if random:
        return Weights("random", "", "")
    if not row.classifies:
        return Weights("fixed", "", "")
    if row.own:
        return Weights(f"as {row.summary} makes them", "", "")
    return load_published(row, network, classes)


def _with_golden(source: "Source", random_weights: bool) -> "Source":
    from convscope.exporter.conversion.convert import servable
    from convscope.exporter.conversion.golden import golden_noise
    from convscope.exporter.conversion.golden_choice import decisive
    from convscope.exporter.conversion.photos import golden_photos
    from convscope.exporter.preprocessing import ImagePreprocessing

    expects = source.preprocessing
    golden: list[GoldenInput] = []
    if isinstance(expects, ImagePreprocessing) and not random_weights:
        golden = decisive(servable(source), golden_photos(), expects)
    return replace(source, golden=golden or golden_noise(expects))
