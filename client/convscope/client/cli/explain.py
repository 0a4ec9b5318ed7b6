"""`convscope explain`: which parts of an image speak for a class."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import typer

from convscope._suggestions import similar
from convscope.client._inputs.methods import METHODS
from convscope.client.cli.connection import Connection, with_connection
from convscope.client.cli.image_options import (
    FromFile,
    Images,
    Null,
    Quiet,
    Recursive,
    SaveFormat,
    SaveKind,
)
from convscope.client.cli.options import Alias, Json, Model, Version, check_selector
from convscope.client.cli.outputs.columns import Columns
from convscope.client.cli.outputs.formats import RecordFormat
from convscope.client.cli.outputs.reporters import make_reporter
from convscope.client.cli.pictures import PictureFolder
from convscope.client.cli.runs import Run, check_images, reporting_failure
from convscope.client.cli.sources.arguments import ImageArguments
from convscope.client.errors import InvalidInputError
from convscope.client.types import ClassLike, Explain, ExplanationMethod, ModelInfo, Rank

__all__ = ["explain"]

DEFAULT_TOP = 2


@with_connection
def explain(
    connection: Connection,
    model: Model,
    images: Images = None,
    recursive: Recursive = False,
    from_file: FromFile = None,
    null: Null = False,
    version: Version = None,
    alias: Alias = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many of the most probable classes to explain.",
            show_default="2; 1 with --against, none with --class",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="Explain this class, by its label or index; may be repeated.",
            show_default="the most probable classes",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Explain what speaks for each class rather than for this one.",
            show_default="no contrast",
        ),
    ] = None,
    contrast: Annotated[
        bool | None,
        typer.Option(
            "--contrast/--no-contrast",
            help="Also explain the most probable class rather than the second.",
            show_default="yes, unless --class or --against is set",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(METHODS),
            help="The method of explanation.",
            show_default="the first that the model offers",
        ),
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option(min=2, help="For occlusion: cells along each side.", show_default="7"),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="For occlusion: side of the covered square, in cells.",
            show_default="1.5",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the explanations. It gets the subfolders of the images.",
            file_okay=False,
            show_default="save nothing",
        ),
    ] = None,
    save_format: SaveFormat = SaveKind.PNG,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show which parts of images speak for a class.

    A saved picture shows the heat over the image. Orange parts speak for the class, and blue
    parts against it.

    The images and the exit codes are those of `convscope classify`.

    Examples:
      convscope explain photo.jpg --model efficientnet_lite0 --save heat
      convscope explain photo.jpg --model efficientnet_lite0 --class tabby --against lynx
      convscope explain -r photos --model digits --top 1 --save heat --save-format npz
      convscope explain photo.jpg --model digits --method occlusion --cells 14
    """
    check_selector(version, alias)
    if method is not None and method not in METHODS:
        raise typer.BadParameter(f"--method is {method!r}; there are: {', '.join(METHODS)}")
    found = ImageArguments(
        images or [], recursive=recursive, list_file=from_file, null=null, save=save
    )
    client = connection.client()
    kind: RecordFormat | None = "json" if as_json else None
    check_images(found, prints_json=as_json)
    with reporting_failure(found, prints_json=as_json), client:
        info = client.model(model, version=version, alias=alias)
        how = _how(info, method, cells, window)
        selected = _select(info, how, classes or [], top, against, contrast)
        folder = None
        if save is not None:
            folder = PictureFolder(save, info, as_arrays=save_format is SaveKind.NPZ)
        run = Run(
            found,
            make_reporter(
                kind,
                Columns("wide", len(info.labels)),
                shows_table=not (quiet and save),
                quiet=quiet,
            ),
            folder=folder,
            timeout_seconds=connection.timeout,
            quiet=quiet,
            streams=as_json,
        )
        run(
            lambda images: client.classify_many(
                images,
                model=model,
                version=info.version,  # a canary must not replace the version that was asked for
                explain=selected,
                priority="interactive" if found.is_one_image else "bulk",
                return_errors=True,
            )
        )


def _how(info: ModelInfo, method: str | None, cells: int | None, window: float | None) -> Explain:
    """Return an explanation with the options that all of them share."""
    offered = info.explanations
    if offered is None:
        reason = "its server is of an earlier version" if info.labels else "it has no classes"
        raise InvalidInputError(f"{info.model} v{info.version} offers no explanations; {reason}")
    chosen = cast(ExplanationMethod, method or offered.methods[0])
    return Explain(method=chosen, cells=cells, window=window)


def _select(
    info: ModelInfo,
    how: Explain,
    classes: Sequence[str],
    top: int | None,
    against: str | None,
    contrast: bool | None,
) -> list[Explain]:
    """Return the explanations that the options select."""
    targets: list[ClassLike] = [_class(info, text) for text in classes]
    max_rank = len(info.labels)
    most = info.explanations.max_explanations if info.explanations is not None else 1
    if top is None:
        # The second best class is often the one to contrast with.
        top = 0 if targets else 1 if against is not None else min(DEFAULT_TOP, max_rank, most)
    count = len(targets) + top + bool(contrast)
    if count > most:
        raise InvalidInputError(
            f"{count} explanations are selected; {info.model} v{info.version} computes at most "
            f"{most} for an image; lower --top, or name fewer with --class"
        )
    if top > max_rank:
        raise InvalidInputError(
            f"--top is {top}; {info.model} v{info.version} has {max_rank} classes"
        )
    targets += map(Rank, range(1, top + 1))
    rival = None if against is None else _class(info, against)
    if how.method == "eigen-cam":  # the same for all classes
        return [replace(how, against=rival)]
    selected = [replace(how, target=target, against=rival) for target in targets]
    if contrast is None:
        contrast = not classes and against is None and max_rank > 1 and len(selected) < most
    if contrast:
        selected.append(replace(how, target=Rank(1), against=Rank(2)))
    return selected


def _class(info: ModelInfo, text: str) -> ClassLike:
    """Return the class that a text names: a label, or else an index."""
    if text in info.labels:
        return text
    if text.isdecimal():
        return int(text)
    near = similar(text, info.labels)
    listing = f"`convscope models {info.model} --json` lists them"
    repair = f"did you mean {near}?" if near else listing
    raise InvalidInputError(f"no class {text!r} in {info.model} v{info.version}; {repair}")
