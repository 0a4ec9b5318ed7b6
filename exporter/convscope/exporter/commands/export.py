"""`export`: a network with its weights becomes a bundle.

PyTorch is imported inside the command, so that `--help` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.exporter.commands.console import (
    errors_as_sentences,
    make_console,
    report,
    reserve_version,
)
from convscope.exporter.commands.options import (
    FeatureMaps,
    InputShape,
    Mean,
    Model,
    Name,
    Quiet,
    Repository,
    ShortestEdge,
    Std,
    Version,
)
from convscope.exporter.errors import ExporterError

if TYPE_CHECKING:
    from torch import nn

    from convscope.exporter.architectures import Architecture
    from convscope.exporter.conversion.convert import Source
    from convscope.exporter.conversion.golden import GoldenInput
    from convscope.exporter.preprocess import InputRule
    from convscope.exporter.resolve import DeclaredInput
    from convscope.exporter.weights import Weights

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    architecture: Name,
    repository: Repository = Path("models"),
    name: Model = None,
    version: Version = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A .safetensors or .pth file, instead of the published weights."),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="No weights: to try out how it is served.")
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(help="A file with one label a line, or JSON; or a dataset's name."),
    ] = None,
    feature_map: FeatureMaps = None,
    input_shape: InputShape = None,
    mean: Mean = None,
    std: Std = None,
    shortest_edge: ShortestEdge = None,
    quiet: Quiet = False,
) -> None:
    """Convert a network with its published weights, or with those of a file."""
    with errors_as_sentences():
        console = make_console(quiet)
        with console.status("Loading PyTorch"):
            from convscope.exporter.conversion.convert import Source, convert
            from convscope.exporter.resolve import DeclaredInput, resolve
        declared = DeclaredInput(input_shape, mean, std, shortest_edge)
        row = resolve(architecture, declared)
        model = name or _model_name(row)
        number = reserve_version(repository, model, version, console)
        expects = _input(row, declared)
        names = _labels(row, labels, random_weights)
        with console.status("Loading the weights"):
            network = _seeded(row, len(names), expects.channels)
            source = _load(row, network, len(names), weights, random_weights)
        console.print(
            f"weights   {source.source}{f' ({source.license})' if source.license else ''}"
        )
        with console.status("Converting to ONNX and comparing with PyTorch"):
            conversion = convert(
                _with_golden(
                    Source(
                        model=model,
                        version=number,
                        architecture=row.name,
                        network=network,
                        preprocessing=expects,
                        labels=names,
                        feature_maps=feature_map or row.feature_maps,
                        weights=source,
                        golden=(),
                    ),
                    random_weights,
                ),
                repository,
            )
        report(conversion, console)


def _model_name(row: "Architecture") -> str:
    """The architecture's name, in the letters that a model's may have."""
    return row.name.removeprefix("timm/").replace(".", "_").lower()


def _input(row: "Architecture", declared: "DeclaredInput") -> "InputRule":
    """The row's own record; a tensor's shape may be declared, as no record knows it."""
    from convscope.exporter.preprocess import TensorInput

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


def _labels(row: "Architecture", labels: str | None, random_weights: bool) -> tuple[str, ...]:
    from convscope.exporter.datasets.registry import LABELS
    from convscope.exporter.resolve import read_labels

    if not row.classifies:
        return ()
    if labels is not None:
        return read_labels(labels)
    if known := row.labels():
        return known
    if row.dataset in LABELS:
        return LABELS[row.dataset]
    if random_weights:
        return tuple(f"class {index}" for index in range(10))
    raise ExporterError(f"the classes of {row.name} have no names; give them with --labels FILE")


def _seeded(row: "Architecture", classes: int, channels: int) -> "nn.Module":
    import torch

    torch.manual_seed(0)
    return row.build(classes, channels)


def _load(
    row: "Architecture", network: "nn.Module", classes: int, file: Path | None, random: bool
) -> "Weights":
    from convscope.exporter.resolve import load_file, load_published
    from convscope.exporter.weights import Weights

    if file is not None:
        return load_file(row, network, file, classes)
    if random:
        return Weights("random", "", "")
    if not row.classifies:
        return Weights("fixed", "", "")
    if row.summary.partition(":")[0].endswith(".py"):
        return Weights(f"as {row.summary} makes them", "", "")
    return load_published(row, network, classes)


def _with_golden(source: "Source", random_weights: bool) -> "Source":
    from dataclasses import replace

    from convscope.exporter.conversion.convert import servable
    from convscope.exporter.conversion.golden import golden_noise, golden_photos
    from convscope.exporter.conversion.golden_choice import decisive
    from convscope.exporter.preprocess import ImagePreprocessing

    expects = source.preprocessing
    golden: list[GoldenInput] = []
    if isinstance(expects, ImagePreprocessing) and not random_weights:
        golden = decisive(servable(source), golden_photos(), expects)
    return replace(source, golden=golden or golden_noise(expects))
