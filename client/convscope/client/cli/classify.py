"""`convscope classify`: the classes of any number of images."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.client.cli.image_options import (
    FromFile,
    Images,
    Null,
    Quiet,
    Recursive,
    SaveFormat,
    SaveKind,
)
from convscope.client.cli.options import (
    Alias,
    AllowInsecureToken,
    ClientCertificate,
    ClientKey,
    Json,
    Model,
    RootCertificates,
    Server,
    Timeout,
    TokenFile,
    Version,
    check_selector,
    open_client,
)
from convscope.client.cli.outputs.choice import Format, LayoutChoice, choose_file, choose_format
from convscope.client.cli.outputs.columns import Columns
from convscope.client.cli.outputs.output_file import OutputFile
from convscope.client.cli.outputs.reporters import make_reporter
from convscope.client.cli.pictures import PictureFolder
from convscope.client.cli.runs import Run, reporting_failure
from convscope.client.cli.sources.arguments import ImageArguments
from convscope.client.errors import InvalidInputError
from convscope.client.types import ModelInfo

__all__ = ["classify"]

ALL = "all"


def classify(
    model: Model,
    images: Images = None,
    recursive: Recursive = False,
    from_file: FromFile = None,
    null: Null = False,
    version: Version = None,
    alias: Alias = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    min_probability: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out classes below this.")
    ] = 0.0,
    output_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="How to print or write the results; json has one object per line.",
            show_default="by the suffix of --output, or else table",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the results to this file, which appears when it is complete.",
            show_default="print them",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue --output after an interruption, and add the images that it lacks.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --output.")] = False,
    layout: Annotated[
        LayoutChoice,
        typer.Option(help="Rows of CSV, Parquet, Markdown: one per image, or one per class."),
    ] = LayoutChoice.WIDE,
    feature_maps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,NAME]...",
            help="Also show these feature maps, or all; may be repeated.",
            show_default="no feature map",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Save the feature maps here; subfolders of images are kept.",
            file_okay=False,
            show_default="save nothing",
        ),
    ] = None,
    save_format: SaveFormat = SaveKind.PNG,
    routing_key: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="During a canary, the same key always gets the same version.",
            show_default="no key",
        ),
    ] = "",
    server: Server = "localhost:8001",
    root_certificates: RootCertificates = None,
    client_certificate: ClientCertificate = None,
    client_key: ClientKey = None,
    token_file: TokenFile = None,
    allow_insecure_token: AllowInsecureToken = False,
    timeout: Timeout = 30.0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Classify images from files, folders, lists or URLs.

    A bad image does not stop the others: it is reported, and left out of the output. An
    interrupted run is continued by the same command with --resume, without classifying an image
    of the output again. In a folder, files that are no images are left out, and so are names
    that start with a dot.

    \b
    Examples:
      convscope classify cat.jpg --model resnet50
      convscope classify -r photos --model resnet50 -o classes.csv
      convscope classify 'photos/**/*.jpg' --model resnet50 -o classes.parquet --resume
      find photos -name '*.jpg' -print0 | convscope classify --from-file - -0 --model resnet50
      curl https://example.com/cat.jpg | convscope classify - --model resnet50 --json
      convscope classify -r photos --model resnet50 --feature-maps all --save maps

    \b
    Columns of CSV, Parquet and Markdown:
      wide  image, label, index, probability, label_2, index_2, probability_2, ...
      long  image, rank, label, index, probability
      both  model, version, provider, decode_seconds, queue_seconds, infer_seconds,
            encode_seconds, call_seconds, request_id

    \b
    Exit codes:
      0    all images were classified
      1    no image was classified, or the call failed
      2    some images failed, or the run stopped early
      64   a flag is wrong
      130  interrupted
    """
    check_selector(version, alias)
    names = _split(feature_maps or [])
    if save is not None and not names:
        raise typer.BadParameter("--save saves feature maps; name some with --feature-maps")
    found = ImageArguments(
        images or [], recursive=recursive, list_file=from_file, null=null, save=save
    )
    kind = choose_format(output_format, as_json, output)
    file_choice = choose_file(output, kind, resume=resume, overwrite=overwrite)
    client = open_client(
        server,
        timeout,
        root_certificates,
        client_certificate,
        client_key,
        token_file,
        allow_insecure_token,
    )
    prints_json = kind == "json" and file_choice is None
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
        file = None if file_choice is None else OutputFile(file_choice, columns, options)
        folder = None
        if save is not None:
            folder = PictureFolder(save, info, as_arrays=save_format is SaveKind.NPZ)
        run = Run(
            found,
            make_reporter(kind, columns, file, shows_table=not (quiet and save)),
            file=file,
            folder=folder,
            timeout_seconds=timeout,
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
                f"it has: {', '.join(known) or 'none'}"
            )
    return names
