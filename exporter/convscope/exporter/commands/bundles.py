"""`import`, `verify` and `describe`: graphs that others made, and bundles that exist.

What they need is imported inside them, so that `--help` answers at once.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from convscope.exporter.commands.console import errors_as_sentences, make_console, reserve_version
from convscope.exporter.commands.options import Quiet, Repository, Version
from convscope.exporter.errors import ExporterError

if TYPE_CHECKING:
    from convscope.exporter.bundles.describe import Level, Pyramid
    from convscope.exporter.foreign.importing import Imported

__all__ = ["register"]

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A directory like models/NAME/1.")]
Option = typer.Option


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import")(import_onnx)
    app.command()(verify)
    app.command()(describe)


def import_onnx(
    file: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The foreign graph.")],
    repository: Repository = Path("models"),
    name: Annotated[
        str | None, Option("--name", help="The model's name; the file's by default.")
    ] = None,
    version: Version = None,
    labels: Annotated[
        Path | None,
        Option(help="A text file of one class a line, or a JSON list. Numbers by default."),
    ] = None,
    input_layout: Annotated[
        Literal["nchw", "nhwc"] | None,
        Option(help="Where the input's channels are. Seen from its shape by default."),
    ] = None,
    color: Annotated[
        Literal["rgb", "bgr", "gray"], Option(help="The input's channels and their order.")
    ] = "rgb",
    scale: Annotated[
        str | None, Option(help="What pixels of 0 to 255 are multiplied by first. [default: 1/255]")
    ] = None,
    mean: Annotated[
        str,
        Option(help="Subtracted then: one number, or one a channel, like 0.485,0.456,0.406."),
    ] = "0",
    std: Annotated[str, Option(help="Divided by then: one number, or one a channel.")] = "1",
    resize: Annotated[
        str | None,
        Option(
            help="The length in pixels that an image's shorter edge is brought to before the "
            "centre is cropped; or exact, to resize to the input whatever the aspect ratio. "
            "The input's longer edge by default."
        ),
    ] = None,
    crop: Annotated[
        str | None,
        Option(help="The input's size, such as 224 or 224x320, for a graph that leaves it open."),
    ] = None,
    interpolation: Annotated[
        Literal["bilinear", "bicubic"], Option(help="The filter of the resize.")
    ] = "bilinear",
    activation: Annotated[
        Literal["softmax", "sigmoid", "none"] | None,
        Option(
            help="What makes probabilities of the output; none if it holds them already. "
            "Seen from the graph's end by default."
        ),
    ] = None,
    output: Annotated[
        str | None, Option(help="The output of the classes, if there are several.")
    ] = None,
    feature_map: Annotated[
        list[str] | None,
        Option(
            metavar="TENSOR[=NAME]",
            help="A tensor inside the graph that becomes a feature map; several are allowed. "
            "One of each stage of the pyramid by default.",
        ),
    ] = None,
    dataset: Annotated[str, Option(help="What the weights were trained on, for the record.")] = "",
    weights_license: Annotated[
        str, Option(help="The SPDX identifier of the weights' licence, for the record.")
    ] = "",
    quiet: Quiet = False,
) -> None:
    """Make a bundle of a classifier in a foreign ONNX file."""
    with errors_as_sentences():
        console = make_console(quiet)
        model = name or _model_name(file)
        number = reserve_version(repository, model, version, console)
        from convscope.exporter.foreign.importing import ForeignSource, import_model

        source = ForeignSource(
            path=file,
            model=model,
            version=number,
            labels=None if labels is None else _read_labels(labels),
            layout=input_layout,
            color=color,
            scale=None if scale is None else _number("--scale", scale),
            mean=_numbers("--mean", mean),
            std=_numbers("--std", std),
            resize=_resize(resize),
            size=None if crop is None else _size(crop),
            interpolation=interpolation,
            activation=activation,
            output=output,
            feature_maps=feature_map or None,
            dataset=dataset,
            license=weights_license,
        )
        with console.status("Joining the preprocessing and comparing with the original"):
            imported = import_model(source, repository)
        _report_import(imported, console)


def verify(bundle: Bundle, quiet: Quiet = False) -> None:
    """Repeat a bundle's checks: manifest, hashes, graph, golden inputs, batches."""
    with errors_as_sentences():
        console = make_console(quiet)
        from convscope.exporter.bundles.verify import CHECKS
        from convscope.exporter.bundles.verify import verify as run

        done = 0
        try:
            for check in run(bundle):
                console.print(f"[green]✓[/] {check.name:<9} {check.detail}")
                done += 1
        except ExporterError:
            console.print(f"[red]✗[/] {CHECKS[done]}")
            for name in CHECKS[done + 1 :]:
                console.print(f"[dim]- {name:<9} not checked[/]")
            raise


def describe(
    bundle: Bundle,
    as_json: Annotated[bool, Option("--json", help="Print JSON instead of a table.")] = False,
    plot: Annotated[
        Path | None, Option(metavar="FILE", help="Draw the pyramid into a picture file.")
    ] = None,
    photo: Annotated[
        Path | None,
        Option(help="The photo to draw receptive fields on; a golden one by default."),
    ] = None,
) -> None:
    """Print a bundle's pyramid: each feature map's shape, receptive field and cost."""
    with errors_as_sentences():
        from convscope.exporter.bundles.describe import read_photo, read_pyramid

        pyramid = read_pyramid(bundle)
        if plot is not None:
            from convscope.exporter.bundles.plot import plot_pyramid

            plot_pyramid(pyramid, plot, read_photo(bundle, photo))
        if as_json:
            typer.echo(json.dumps(pyramid.as_json(), indent=2))
        else:
            make_console(False).print(_table(pyramid))


def _model_name(file: Path) -> str:
    return re.sub(r"[^a-z0-9_-]+", "_", file.stem.lower()).strip("_-")[:63] or "model"


def _read_labels(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".json":
            return text.splitlines()
        labels = json.loads(text)
    except (OSError, ValueError) as error:
        raise ExporterError(f"the labels in {path} can't be read: {error}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ExporterError(f"{path} holds no JSON list of strings, one for each class")
    return labels


def _number(option: str, text: str) -> float:
    """Read a number or a fraction, such as 1/255."""
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise ExporterError(f"{option} {text!r} is no number, such as 0.5 or 1/255") from error


def _numbers(option: str, text: str) -> list[float]:
    return [_number(option, part) for part in text.split(",")]


def _resize(text: str | None) -> "int | Literal['exact'] | None":
    if text is None:
        return None
    if text == "exact":
        return "exact"
    if not text.isdecimal():
        raise ExporterError(f"--resize {text!r} is neither a length in pixels nor exact")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    height, separator, width = text.partition("x")
    sides = (height, width) if separator else (height, height)
    if not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ExporterError(f"--crop {text!r} is no size in pixels, such as 224 or 224x320")
    return int(sides[0]), int(sides[1])


def _report_import(imported: "Imported", console: Console) -> None:
    image = imported.input
    console.print(
        f"input     {image.name!r}, {image.layout.upper()}, "
        f"{image.height} × {image.width} × {image.channels}; {imported.activation}"
    )
    table = Table("output", "shape", "difference from the original", box=None, header_style="dim")
    for one in imported.parity:
        table.add_row(one.name, _shape(one.shape), f"{one.difference:.1e}")
    console.print(table)
    size = sum(path.stat().st_size for path in imported.directory.iterdir())
    console.print(f"[green]published[/] {imported.directory} ({decimal(size)})")


def _table(pyramid: "Pyramid") -> Table:
    table = Table(
        "feature map", title=f"{pyramid.model} v{pyramid.version}", box=None, header_style="dim"
    )
    for column in ("shape", "stride", "receptive field", "parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    table.add_row("[dim]input[/]", _shape(_channels_first(pyramid)))
    for level in pyramid.levels:
        table.add_row(level.name, *_cells(level))
    return table


def _cells(level: "Level") -> tuple[str, ...]:
    field = level.receptive_field
    return (
        _shape(level.shape),
        "" if level.stride is None else f"{level.stride:g}",
        "whole input" if field is None else f"{field:,}",
        f"{level.parameters:,}",
        f"{level.multiply_adds:,}",
    )


def _channels_first(pyramid: "Pyramid") -> tuple[int, ...]:
    sizes = pyramid.input
    return (sizes[-1], *sizes[:-1]) if pyramid.is_image else sizes


def _shape(sizes: tuple[int, ...]) -> str:
    return " × ".join(map(str, sizes))
