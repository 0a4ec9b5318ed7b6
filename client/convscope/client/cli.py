"""The `convscope` command."""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from convscope.client import _admin_cli, _json, _tables
from convscope.client._client import Client
from convscope.client._error_output import print_error
from convscope.client._missing_options import ExplainingCommand
from convscope.client._pictures import PictureFolder
from convscope.client._progress import progress_bar
from convscope.client.errors import ConvscopeError, InvalidInputError
from convscope.client.types import Classification, ModelInfo

__all__ = ["app"]

_HELP = "Classify images with a Convscope server, and see what the network sees."

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=_HELP,
)
app.add_typer(_admin_cli.app, name="admin")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convscope {metadata.version('convscope')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Classify images with a Convscope server, and see what the network sees."""


Server = Annotated[
    str,
    typer.Option(envvar="CONVSCOPE_SERVER", metavar="HOST:PORT", help="The server's address."),
]
RootCertificates = Annotated[
    Path | None,
    typer.Option(
        envvar="CONVSCOPE_ROOT_CERTIFICATES",
        help="Use TLS, and trust the certificates of this PEM file.",
        show_default="no TLS",
        exists=True,
        dir_okay=False,
    ),
]
Timeout = Annotated[float, typer.Option(min=0.001, help="How long one call may take, in seconds.")]
Version = Annotated[
    int | None, typer.Option(min=1, help="The version.", show_default="the server's default")
]
Alias = Annotated[
    str | None,
    typer.Option(help="The version, by one of its aliases.", show_default="the server's default"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@app.command(cls=ExplainingCommand)
def classify(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE", help="JPEG, PNG, WebP, BMP or GIF files."),
    ],
    model: Annotated[str, typer.Option(help="The model's name.")],
    version: Version = None,
    alias: Alias = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    min_probability: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out classes below this.")
    ] = 0.0,
    feature_maps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,NAME]...",
            help="Also show these feature maps; may be repeated.",
            show_default="no feature map",
        ),
    ] = None,
    routing_key: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="During a canary, the same key always gets the same version.",
            show_default="no key",
        ),
    ] = "",
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Save the feature maps as pictures here.",
            file_okay=False,
            show_default="no pictures",
        ),
    ] = None,
    server: Server = "localhost:8001",
    root_certificates: RootCertificates = None,
    timeout: Timeout = 30.0,
    as_json: Json = False,
) -> None:
    """Classify images."""
    _check_selector(version, alias)
    names = _split(feature_maps or [])
    if save is not None and not names:
        raise typer.BadParameter("--save saves feature maps; name some with --feature-maps")
    reporter = _json.Reporter() if as_json else _tables.Reporter()
    failed = False
    try:
        with _client(server, timeout, root_certificates) as client:
            info = client.model(model, version=version, alias=alias)
            _check_feature_maps(info, names)
            folder = PictureFolder(save, info) if save is not None else None
            outcomes = client.classify_many(
                images,
                model=model,
                # Pictures need the description of the version, so a canary must not replace it.
                version=info.version if names else version,
                alias=None if names else alias,
                routing_key=routing_key,
                top_k=top_k,
                min_probability=min_probability,
                feature_maps=names,
                priority="interactive" if len(images) == 1 else "bulk",
                return_errors=True,
            )
            for image, outcome in _with_progress(images, outcomes, as_json):
                failed |= not _report(reporter, folder, image, outcome)
    except ConvscopeError as error:  # of the call, not of one image
        if as_json:
            for image in images:
                reporter.add_error(image, error)
        print_error(error.message)
        raise typer.Exit(1) from error
    reporter.finish()
    if failed:
        raise typer.Exit(1)


@app.command()
def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Describe this model in full.", show_default="list all models"
        ),
    ] = None,
    version: Version = None,
    alias: Alias = None,
    server: Server = "localhost:8001",
    root_certificates: RootCertificates = None,
    timeout: Timeout = 30.0,
    as_json: Json = False,
) -> None:
    """List the models of the server, or describe one."""
    _check_selector(version, alias)
    if name is None and (version is not None or alias is not None):
        raise typer.BadParameter("--version and --alias need the NAME of a model")
    try:
        with _client(server, timeout, root_certificates) as client:
            if name is None:
                found = client.models()
                (_json if as_json else _tables).print_models(found)
                if not found:
                    typer.echo("no version is loaded now; some may be loaded on demand", err=True)
            else:
                info = client.model(name, version=version, alias=alias)
                (_json if as_json else _tables).print_model(info)
    except ConvscopeError as error:
        print_error(error.message)
        raise typer.Exit(1) from error


def _client(server: str, timeout: float, root_certificates: Path | None) -> Client:
    try:
        return Client(server, timeout_seconds=timeout, root_certificates=root_certificates)
    except InvalidInputError as error:
        raise typer.BadParameter(error.message) from error


def _check_selector(version: int | None, alias: str | None) -> None:
    if version is not None and alias is not None:
        raise typer.BadParameter("--version and --alias both choose a version; give one")


def _split(feature_maps: list[str]) -> list[str]:
    """Split names at commas, and remove duplicates."""
    names = (name.strip() for item in feature_maps for name in item.split(","))
    return list(dict.fromkeys(filter(None, names)))


def _check_feature_maps(info: ModelInfo, names: list[str]) -> None:
    """Raise the server's error for an unknown name once, not for each image."""
    known = [spec.name for spec in info.feature_maps]
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"no feature map {name!r} in {info.model} v{info.version}; "
                f"it has: {', '.join(known) or 'none'}"
            )


def _report(
    reporter: "_json.Reporter | _tables.Reporter",
    folder: PictureFolder | None,
    image: str,
    outcome: Classification | ConvscopeError,
) -> bool:
    """Report one image; return whether it succeeded."""
    if isinstance(outcome, ConvscopeError):
        reporter.add_error(image, outcome)
        names_image = str(Path(image)) in outcome.message
        print_error(outcome.message if names_image else f"{image}: {outcome.message}")
        return False
    saved: list[Path] = []
    try:
        if folder is not None:
            saved = folder.save(Path(image), outcome)
    except OSError as error:
        reporter.add(image, outcome, saved)
        print_error(f"{image}: the pictures can't be saved: {error}")
        return False
    reporter.add(image, outcome, saved)
    return True


def _with_progress(
    images: list[str], outcomes: Iterator[Classification | ConvscopeError], as_json: bool
) -> Iterator[tuple[str, Classification | ConvscopeError]]:
    console = Console(stderr=True)
    # A bar would break the lines of JSON, if they go to the same terminal.
    visible = len(images) > 1 and console.is_terminal and not (as_json and sys.stdout.isatty())
    with progress_bar(len(images), visible=visible, transient=True) as advance:
        for pair in zip(images, outcomes, strict=True):
            yield pair
            advance()
