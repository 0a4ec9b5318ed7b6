"""`export`: convert a network with its weights to a bundle.

PyTorch is imported inside the command, so that `--help` is fast.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from convscope.exporter.commands import options
from convscope.exporter.commands.console import (
    check_labels,
    choose_version,
    convert_and_report,
    errors_as_sentences,
    make_console,
    print_target,
)
from convscope.exporter.errors import ExporterError

if TYPE_CHECKING:
    from torch import nn

    from convscope.exporter.architectures import Architecture
    from convscope.exporter.architectures.resolve import DeclaredInput
    from convscope.exporter.architectures.weights import Weights
    from convscope.exporter.conversion.golden import GoldenInput
    from convscope.exporter.conversion.graph import ServableNetwork
    from convscope.exporter.conversion.source import GoldenChoice
    from convscope.exporter.preprocessing import InputRule

__all__ = ["register"]

RANDOM_CLASSES = 10  # the default number of classes with random weights
SET_BY = "set by "

WeightsFile = Annotated[
    Path | None,
    typer.Option(
        help="A .safetensors or .pth file, instead of the published weights.",
        show_default="the published weights; those of the factory for a network of your own",
    ),
]
RandomWeights = Annotated[
    bool,
    typer.Option(
        "--random-weights",
        help="Publish an untrained network, to try out serving. Without it, a network of your own "
        "needs --weights or a factory that loads them.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="The names of the classes: a text, CSV or JSON file; or mnist, fashion_mnist or "
        "cifar10. For a network with one output, the first label is for low outputs, the second "
        "for high ones.",
        show_default="those of the published weights; 0, 1, 2 and so on for a network of your own",
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
    preprocess: options.Preprocess = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    padding: options.Padding = None,
    placement: options.PlacementOption = None,
    interpolation: options.InterpolationOption = None,
    output: options.Output = None,
    activation: options.Activation = "auto",
    allow_nonfinite: options.AllowNonfinite = False,
    explanations: options.Explanations = None,
    quiet: options.Quiet = False,
) -> None:
    """Convert a network with its published weights, or with those of a file.

    Examples:
      convscope-exporter export efficientnet_lite0
      convscope-exporter export timm/resnet18.a1_in1k --name resnet18
      convscope-exporter export net.py:make --weights net.safetensors --input 3x64x64
    """
    with errors_as_sentences():
        console = make_console(quiet)
        check_labels(labels)
        # This doesn't import PyTorch, so that a wrong name is an error at once.
        from convscope.exporter.architectures.resolve import (
            DeclaredInput,
            check_published,
            resolve,
        )
        from convscope.exporter.preprocessing import ImagePreprocessing
        from convscope.exporter.preprocessing.declared import DeclaredResize

        declared = DeclaredInput(
            shape=input_shape,
            mean=mean,
            std=std,
            resize=DeclaredResize(resize, padding, placement),
            interpolation=interpolation,
            preprocess=preprocess,
        )
        with console.status(escape(f"Loading {architecture}")):
            row = resolve(architecture, declared, has_labels=labels is not None)
        if weights is None and not random_weights:
            check_published(row, declared, "pass the weights that were trained with it: --weights")
        model = name or row.model_name
        number = choose_version(repository, model, version)
        expects = _input(row, declared)
        if isinstance(expects, ImagePreprocessing):
            assumed = row.is_custom and not declared.preprocessing_options
            expects = replace(expects, assumed=assumed)
        with console.status("Loading PyTorch and the weights"):
            from convscope.exporter.conversion.default_classes import check_default_classes
            from convscope.exporter.conversion.servable import check_declared
            from convscope.exporter.conversion.source import Source

            own_labels = _labels(row, labels, random_weights)
            if labels is not None and own_labels and weights is None and not random_weights:
                check_default_classes(row, expects, len(own_labels))
            network, names, chosen = _build(row, expects, own_labels, output)
            origin = _load(row, network, len(names), weights, random_weights)
            untrained = _untrained(row, network, len(names), expects, origin)
        source = Source(
            model=model,
            version=number,
            architecture=row.name,
            network=network,
            preprocessing=expects,
            labels=names,
            feature_maps=feature_map or row.feature_maps,
            weights=origin,
            golden=_golden(expects, random_weights),
            untrained=untrained,
            activation=activation,
            allow_nonfinite=allow_nonfinite,
            explanations=explanations,
        )
        with console.status("Checking the labels and the feature maps"):
            feature_maps = check_declared(source)
        print_target(repository, model, number, console)
        license_text = f" ({origin.license})" if origin.license else ""
        console.print(f"weights   {origin.source}{license_text}", markup=False)
        if row.has_default_classes and own_labels:
            console.print(f"network   {row.summary} with num_classes={len(names)}", markup=False)
        if chosen is not None:
            console.print(f"output    {chosen}", markup=False)
        convert_and_report(
            source,
            repository,
            console,
            has_label_names=labels is not None or not row.is_custom,
            feature_maps=feature_maps,
        )


def _input(row: "Architecture", declared: "DeclaredInput") -> "InputRule":
    """Return the network's input; only the shape of a tensor input can be declared."""
    from convscope.exporter.architectures.resolve import DeclaredInput
    from convscope.exporter.preprocessing import TensorInput

    expects = row.preprocessing()
    if declared.shape is None or row.is_custom:
        return expects
    rule = DeclaredInput(declared.shape).rule(row.name)
    if isinstance(rule, TensorInput) and isinstance(expects, TensorInput):
        if len(rule.shape) == len(expects.shape):
            return rule
    elif rule.shape == expects.shape:
        return expects
    raise ExporterError(
        f"the input of {row.name} is fixed to {list(expects.shape)}; remove --input"
    )


def _labels(
    row: "Architecture", labels: str | None, random_weights: bool
) -> tuple[str, ...] | None:
    """Return the names of the classes; None if only the network determines their number."""
    from convscope.exporter.architectures.labels import read_labels
    from convscope.exporter.datasets.registry import LABELS

    if not row.classifies:
        return ()
    if labels is not None:
        return read_labels(labels)
    if row.is_custom:
        return None
    if known := row.labels():
        return known
    if row.dataset in LABELS:
        return LABELS[row.dataset]
    if random_weights:
        return _numbered_labels(RANDOM_CLASSES)
    raise ExporterError(f"the classes of {row.name} have no names; pass them with --labels FILE")


def _numbered_labels(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))


def _build(
    row: "Architecture", expects: "InputRule", labels: tuple[str, ...] | None, output: str | None
) -> tuple["nn.Module", tuple[str, ...], str | None]:
    """Return the network, its labels, which are numbers by default, and the chosen output."""
    import torch

    from convscope.exporter.conversion.classifier_check import class_count
    from convscope.exporter.conversion.output_choice import choose_output
    from convscope.exporter.conversion.size import check_size

    torch.manual_seed(0)
    network = row.build(0 if labels is None else len(labels), expects.channels)
    check_size(network)
    # The networks of the registry return one tensor.
    chosen = choose_output(network, output, expects) if row.is_custom or output else None
    if labels is None:
        labels = _numbered_labels(class_count(network, expects))
    return network, labels, chosen


def _load(
    row: "Architecture", network: "nn.Module", classes: int, file: Path | None, random: bool
) -> "Weights":
    from convscope.exporter.architectures.loading import load_file, load_published
    from convscope.exporter.architectures.weights import Weights

    if file is not None:
        return load_file(row, network, file, classes)
    if random:
        return Weights("random", "", "")
    if not row.classifies:
        return Weights("fixed", "", "")
    if row.is_custom:
        return Weights(f"{SET_BY}{row.summary}", "", "")
    return load_published(row, network, classes)


def _untrained(
    row: "Architecture",
    network: "nn.Module",
    classes: int,
    expects: "InputRule",
    origin: "Weights",
) -> list[str]:
    """Return the random parameters of a network whose weights are set by its factory."""
    from convscope.exporter.conversion.untrained import random_parameters

    if not row.is_custom or not origin.source.startswith(SET_BY):
        return []
    return random_parameters(network, lambda: row.build(classes, expects.channels))


def _golden(expects: "InputRule", random_weights: bool) -> "GoldenChoice":
    from convscope.exporter.conversion.golden import golden_noise
    from convscope.exporter.conversion.golden_choice import decisive
    from convscope.exporter.conversion.photos import golden_photos
    from convscope.exporter.preprocessing import ImagePreprocessing

    def choose(network: "ServableNetwork") -> Sequence["GoldenInput"]:
        golden: list[GoldenInput] = []
        if isinstance(expects, ImagePreprocessing) and not random_weights:
            golden = decisive(network, golden_photos(), expects)
        return golden or golden_noise(expects)

    return choose
