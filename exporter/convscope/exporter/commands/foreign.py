"""`import`: a graph that somebody else made becomes a bundle.

What it needs is imported inside it, so that `--help` answers at once.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from convscope.exporter.commands import import_options as own
from convscope.exporter.commands.console import (
    errors_as_sentences,
    make_console,
    report_parity,
    report_place,
    reserve_version,
)
from convscope.exporter.commands.options import Quiet, Repository, Version

if TYPE_CHECKING:
    from convscope.exporter.foreign.importing import Imported

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_onnx)


def import_onnx(
    file: own.File,
    repository: Repository = Path("models"),
    name: own.Model = None,
    version: Version = None,
    labels: own.Labels = None,
    input_layout: own.Layout = None,
    color: own.Color = "rgb",
    scale: own.Scale = None,
    mean: own.Mean = "0",
    std: own.Std = "1",
    resize: own.Resize = None,
    crop: own.Crop = None,
    interpolation: own.Interpolation = "bilinear",
    activation: own.Activation = None,
    output: own.Output = None,
    feature_map: own.Maps = None,
    dataset: own.Dataset = "",
    weights_license: own.License = "",
    quiet: Quiet = False,
) -> None:
    """Make a bundle of a classifier in a foreign ONNX file."""
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
            scale=None if scale is None else own.number("--scale", scale),
            mean=own.numbers("--mean", mean),
            std=own.numbers("--std", std),
            resize=own.resize_rule(resize),
            size=None if crop is None else own.size(crop),
            interpolation=interpolation,
            activation=activation,
            output=output,
            feature_maps=feature_map or None,
            dataset=dataset,
            license=weights_license,
        )
        with console.status("Joining the preprocessing and comparing with the original"):
            imported = import_model(source, repository)
        _report(imported, console)


def _model_name(file: Path) -> str:
    return re.sub(r"[^a-z0-9_-]+", "_", file.stem.lower()).strip("_-")[:63] or "model"


def _report(imported: "Imported", console: Console) -> None:
    image = imported.input
    console.print(
        f"input     {image.name!r}, {image.layout.upper()}, "
        f"{image.height} × {image.width} × {image.channels}; {imported.activation}"
    )
    report_parity(imported.parity, "the original", console)
    report_place(imported.directory, console)
