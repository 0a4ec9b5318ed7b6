"""`import`: turn a foreign ONNX classifier into a bundle.

The dependencies are imported inside the command, so that `--help` is fast.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from convscope.exporter.commands import import_options as opt
from convscope.exporter.commands.console import (
    errors_as_sentences,
    make_console,
    report_bundle,
    report_parity,
    reserve_version,
)
from convscope.exporter.commands.options import (
    Activation,
    AllowNonfinite,
    Quiet,
    Repository,
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
    color: opt.Color = "rgb",
    scale: opt.Scale = None,
    mean: opt.Mean = "0",
    std: opt.Std = "1",
    resize: opt.Resize = None,
    crop: opt.Crop = None,
    interpolation: opt.Interpolation = "bilinear",
    activation: Activation = "auto",
    allow_nonfinite: AllowNonfinite = False,
    output: opt.Output = None,
    feature_map: opt.Maps = None,
    dataset: opt.Dataset = "",
    weights_license: opt.License = "",
    quiet: Quiet = False,
) -> None:
    """Turn an ONNX classifier from elsewhere into a bundle."""
    with errors_as_sentences():
        console = make_console(quiet)
        model = name or _model_name(file)
        number = reserve_version(repository, model, version, console)
        from convscope.bundle.labels import read_labels
        from convscope.exporter.foreign.importing import ForeignSource, import_model

        source = ForeignSource(
            path=file,
            model=model,
            version=number,
            labels=None if labels is None else read_labels(labels),
            layout=input_layout,
            color=color,
            scale=None if scale is None else opt.number("--scale", scale),
            mean=opt.numbers("--mean", mean),
            std=opt.numbers("--std", std),
            resize=opt.resize_rule(resize),
            size=None if crop is None else opt.size(crop),
            interpolation=interpolation,
            activation=activation,
            allow_nonfinite=allow_nonfinite,
            output=output,
            feature_maps=feature_map or None,
            dataset=dataset,
            license=weights_license,
        )
        with console.status("Adding the preprocessing and comparing with the original"):
            imported = import_model(source, repository)
        _report(imported, console)


def _model_name(file: Path) -> str:
    return re.sub(r"[^a-z0-9_-]+", "_", file.stem.lower()).strip("_-")[:63] or "model"


def _report(imported: "Imported", console: Console) -> None:
    image = imported.input
    console.print(
        f"input     {image.name!r}, {image.layout.upper()}, "
        f"{image.height} × {image.width} × {image.channels}"
    )
    console.print(f"activation {imported.semantics.describe()}", markup=False)
    report_parity(imported.parity, "the original", console)
    report_bundle(imported.directory, console)
