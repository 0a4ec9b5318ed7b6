"""`convscope classify`: the classes of any number of images."""

import os
from pathlib import Path
from typing import Annotated

import typer

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
from convscope.client.cli.outputs.choice import (
    Format,
    LayoutChoice,
    check_layout,
    choose_file,
    choose_format,
)
from convscope.client.cli.outputs.columns import Columns
from convscope.client.cli.outputs.output_file import OutputFile
from convscope.client.cli.outputs.reporters import make_reporter
from convscope.client.cli.pictures import PictureFolder
from convscope.client.cli.runs import Run, check_images, reporting_failure
from convscope.client.cli.sources.arguments import ImageArguments
from convscope.client.cli.sources.downloads import is_url
from convscope.client.cli.sources.image_files import has_image_suffix
from convscope.client.cli.sources.lists import STANDARD_INPUT
from convscope.client.cli.sources.patterns import is_pattern
from convscope.client.errors import InvalidInputError
from convscope.client.types import ModelInfo

__all__ = ["classify"]

ALL = "all"


@with_connection
def classify(
    connection: Connection,
    model: Model,
    images: Images = None,
    recursive: Recursive = False,
    from_file: FromFile = None,
    null: Null = False,
    version: Version = None,
    alias: Alias = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    min_probability: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out classes with a lower probability.")
    ] = 0.0,
    output_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="Format of the results. In json, each image is one line.",
            show_default="by the suffix of --output, or else table",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the results to this file. It appears when all images are done.",
            show_default="print them",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Add to --output the images that it lacks, such as after an interruption.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    layout: Annotated[
        LayoutChoice,
        typer.Option(
            help="Rows of CSV, Parquet, Markdown: one per image (wide) or per class (long)."
        ),
    ] = LayoutChoice.WIDE,
    feature_maps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,NAME]...",
            help="Feature maps to compute, or all; may be repeated.",
            show_default="no feature map",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the feature maps. It gets the subfolders of the images.",
            file_okay=False,
            show_default="save nothing",
        ),
    ] = None,
    save_format: SaveFormat = SaveKind.PNG,
    routing_key: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="During a canary, calls with the same key get the same version.",
            show_default="no key",
        ),
    ] = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Classify images from files, folders, lists or URLs.

    A bad image does not stop the others. It is reported, and the output leaves it out.

    To continue an interrupted run, repeat the command with --resume. It classifies only the
    images that the output lacks.

    In a folder, files that are not images are skipped. So are names that start with a dot.

    Examples:
      convscope classify photo.jpg --model efficientnet_lite0
      convscope classify -r photos --model efficientnet_lite0 -o classes.csv
      convscope classify 'photos/**/*.jpg' --model digits -o classes.csv --resume
      find photos -name '*.jpg' -print0 | convscope classify --model digits --from-file - -0
      curl https://example.com/photo.jpg | convscope classify - --model digits --json
      convscope classify -r photos --model digits --feature-maps all --save maps

    Columns of CSV, Parquet and Markdown:
      wide  image, label, index, probability, label_2, index_2, probability_2, ...
      long  image, rank, label, index, probability
      both  model, version, provider, decode_seconds, queue_seconds, infer_seconds,
            encode_seconds, call_seconds, request_id

    Exit codes:
      0    all images are classified
      1    no image is classified, or the call failed
      2    some images failed, or the run stopped early
      64   the command line is wrong, or it names no image
      130  Ctrl-C
    """
    check_selector(version, alias)
    names = _split(feature_maps or [])
    if save is not None and not names:
        raise typer.BadParameter("--save needs --feature-maps NAME[,NAME]...")
    _check_commas(names, images or [])
    found = ImageArguments(
        images or [], recursive=recursive, list_file=from_file, null=null, save=save
    )
    kind = choose_format(output_format, as_json, output)
    check_layout(layout, kind)
    file_choice = choose_file(output, kind, resume=resume, overwrite=overwrite)
    client = connection.client()
    prints_json = kind == "json" and file_choice is None
    check_images(found, prints_json=prints_json)
    with reporting_failure(found, prints_json=prints_json), client:
        info = client.model(model, version=version, alias=alias)
        names = _known_feature_maps(info, names)
        columns = Columns(layout.value, min(top_k, len(info.labels)))
        options = {
            "--model": model,
            "--alias": alias,
            "--version": info.version,
            "--top-k": top_k,
            "--min-probability": min_probability,
            "--feature-maps": names,
        }
        file = None
        if file_choice is not None:
            chosen = None if version is None and alias is None else info.version
            file = OutputFile(file_choice, columns, options, chosen)
        folder = None
        if save is not None:
            folder = PictureFolder(save, info, as_arrays=save_format is SaveKind.NPZ)
        run = Run(
            found,
            make_reporter(kind, columns, file, shows_table=not (quiet and save), quiet=quiet),
            file=file,
            folder=folder,
            timeout_seconds=connection.timeout,
            quiet=quiet,
            streams=kind is not None and file is None,
        )
        run(
            lambda images: client.classify_many(
                images,
                model=model,
                # Pictures need the description of the version, so a canary must not replace it.
                version=info.version if names else version,
                alias=None if names else alias,
                routing_key=routing_key,
                top_k=top_k,
                min_probability=min_probability,
                feature_maps=names,
                priority="interactive" if found.is_one_image else "bulk",
                return_errors=True,
            )
        )


def _split(feature_maps: list[str]) -> list[str]:
    """Split names at commas, and remove duplicates."""
    names = (name.strip() for item in feature_maps for name in item.split(","))
    return list(dict.fromkeys(filter(None, names)))


def _check_commas(names: list[str], images: list[str]) -> None:
    """Reject feature maps that are separated by spaces, which makes images of them.

    Raises:
        typer.BadParameter: A file does not exist, and its name isn't one of an image.
    """
    if not names:
        return
    for image in images:
        is_name = not (has_image_suffix(image) or is_url(image) or is_pattern(image))
        if is_name and image != STANDARD_INPUT and not os.path.lexists(image):
            joined = ",".join([*names, image])
            raise typer.BadParameter(
                f"there is no image {image!r}; if it is a feature map, separate the names by "
                f"commas: --feature-maps {joined}"
            )


def _known_feature_maps(info: ModelInfo, names: list[str]) -> list[str]:
    """Return the names of the feature maps that are asked for.

    Raises:
        InvalidInputError: One is unknown: the server's error, once and not for each image.
    """
    known = [spec.name for spec in info.feature_maps]
    if ALL in names:
        if not known:
            raise InvalidInputError(f"{info.model} v{info.version} has no feature maps")
        return known
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"no feature map {name!r} in {info.model} v{info.version}; "
                + (f"it has: {', '.join(known)}" if known else "it has no feature maps")
            )
    return names
