"""`convscope classify`: the classes of any number of images."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.client.cli.connection import Connection, with_connection
from convscope.client.cli.feature_map_names import (
    check_commas,
    known_feature_maps,
    split_names,
)
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

__all__ = ["classify"]


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

    Columns of CSV and Parquet:
      wide  image, label, index, probability, label_2, index_2, probability_2, ...
      long  image, rank, label, index, probability
      both  model, version, provider, decode_seconds, queue_seconds, infer_seconds,
            encode_seconds, call_seconds, request_id

    Columns of Markdown, for people:
      wide  image, label, probability, runners-up
      long  image, rank, label, probability

    Exit codes:
      0    all images are classified
      1    no image is classified, or the call failed
      2    some images failed, or the run stopped early
      64   the command line is wrong, or it names no image
      130  Ctrl-C
    """
    check_selector(version, alias)
    names = split_names(feature_maps or [])
    if save is not None and not names:
        raise typer.BadParameter("--save needs --feature-maps NAME[,NAME]...")
    check_commas(names, images or [])
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
        names = known_feature_maps(info, names)
        columns = Columns(layout.value, min(top_k, len(info.labels)))
        options = {
            "--model": model,
            "--alias": alias,
            "--version": info.version,
            "--top-k": top_k,
            "--min-probability": min_probability,
            "--feature-maps": names,
            "--format": kind,
            "--layout": layout.value,
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
