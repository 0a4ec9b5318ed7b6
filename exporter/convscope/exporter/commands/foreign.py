"""`import`: turn a foreign ONNX classifier into a bundle.

The dependencies are imported inside the command, so that `--help` is fast.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from convscope.exporter.commands import import_options as opt
from convscope.exporter.commands.console import (
    check_labels,
    choose_version,
    errors_as_sentences,
    make_console,
    print_explanation,
    print_labels,
    print_target,
    report_bundle,
    report_parity,
    working,
)
from convscope.exporter.commands.options import (
    Activation,
    AllowNonfinite,
    Explanations,
    InterpolationOption,
    Padding,
    PlacementOption,
    Quiet,
    Repository,
    Resize,
    Version,
)

if TYPE_CHECKING:
    from convscope.exporter.foreign.importing import Imported

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_onnx)


def import_onnx(
    file: opt.File,
    repository: Repository = Path("models"),
    name: opt.Model = None,
    version: Version = None,
    labels: opt.Labels = None,
    input_layout: opt.Layout = None,
    preprocess: opt.Preprocess = None,
    color: opt.Color = None,
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    resize: Resize = None,
    padding: Padding = None,
    placement: PlacementOption = None,
    crop: opt.Crop = None,
    interpolation: InterpolationOption = None,
    activation: Activation = "auto",
    allow_nonfinite: AllowNonfinite = False,
    output: opt.Output = None,
    feature_map: opt.Maps = None,
    dataset: opt.Dataset = "",
    weights_license: opt.License = "",
    explanations: Explanations = None,
    quiet: Quiet = False,
) -> None:
    """Turn an ONNX classifier from elsewhere into a bundle.

    Examples:
      convscope-exporter import network.onnx --name network --labels labels.txt
      convscope-exporter import network.onnx --name network --preprocess torchvision
    """
    with errors_as_sentences():
        console = make_console(quiet)
        check_labels(labels)
        model = name or _model_name(file)
        number = choose_version(repository, model, version)
        from convscope.exporter.architectures.labels import read_labels
        from convscope.exporter.foreign.importing import (
            ForeignSource,
            check_import,
            import_checked,
        )
        from convscope.exporter.preprocessing.conventions import CONVENTIONS
        from convscope.exporter.preprocessing.declared import DeclaredResize

        convention = CONVENTIONS[preprocess or "unit"]
        # Without a convention, the type of the graph's input decides.
        own_scale = None if preprocess is None else convention.scale
        source = ForeignSource(
            path=file,
            model=model,
            version=number,
            labels=None if labels is None else read_labels(labels),
            layout=input_layout,
            color=color or ("bgr" if convention.bgr else "rgb"),
            scale=own_scale if scale is None else opt.number("--scale", scale),
            mean=convention.mean if mean is None else opt.numbers("--mean", mean),
            std=convention.std if std is None else opt.numbers("--std", std),
            convention=convention,
            resize=DeclaredResize(resize, padding, placement),
            size=None if crop is None else opt.size(crop),
            interpolation=interpolation,
            activation=activation,
            allow_nonfinite=allow_nonfinite,
            output=output,
            feature_maps=feature_map or None,
            dataset=dataset,
            license=weights_license,
            explanations=explanations,
            assumed=all(one is None for one in (preprocess, scale, mean, std, resize)),
        )
        with console.status(escape(f"Reading {file}")):
            checked = check_import(source)
        print_target(repository, model, number, console)
        with working("Adding the preprocessing and comparing with the original", console):
            imported = import_checked(checked, repository)
        _report(imported, console, has_labels=labels is not None)


def _model_name(file: Path) -> str:
    return re.sub(r"[^a-z0-9_-]+", "_", file.stem.lower()).strip("_-")[:63] or "model"


def _report(imported: "Imported", console: Console, *, has_labels: bool) -> None:
    from convscope.bundle.layout import MANIFEST
    from convscope.bundle.manifest import parse_manifest
    from convscope.bundle.preprocessing import preprocessing_line

    image = imported.input
    console.print(
        f"input     {image.name!r}, {image.layout.upper()}, "
        f"{image.height} × {image.width} × {image.channels}",
        markup=False,
    )
    console.print(f"activation {imported.semantics.describe()}", markup=False)
    manifest = parse_manifest((imported.directory / MANIFEST).read_bytes())
    assumption = "; assumed, set --preprocess, or --mean, --std and --resize to change it"
    line = preprocessing_line(manifest) + (assumption if manifest.preprocessing.assumed else "")
    console.print(f"images    {line}", markup=False)
    print_labels(manifest.labels, console, are_chosen=has_labels)
    report_parity(imported.parity, "the original", console)
    print_explanation(imported.explanation, console)
    report_bundle(imported.directory, console)
