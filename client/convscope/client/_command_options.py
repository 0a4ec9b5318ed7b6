"""The options that several commands share, and what they mean."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.client._client import Client
from convscope.client.errors import InvalidInputError

__all__ = [
    "Alias",
    "Images",
    "Json",
    "Model",
    "RootCertificates",
    "Server",
    "Timeout",
    "Version",
    "check_selector",
    "open_client",
]

Images = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE", help="JPEG, PNG, WebP, BMP or GIF files."),
]
Model = Annotated[str, typer.Option(help="The model's name.")]
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


class _CommandClient(Client):
    """A client whose messages name the options of the commands."""

    _timeout_name = "--timeout"


def open_client(server: str, timeout: float, root_certificates: Path | None) -> Client:
    """Return a client, to be used in a with block."""
    try:
        return _CommandClient(server, timeout_seconds=timeout, root_certificates=root_certificates)
    except InvalidInputError as error:
        raise typer.BadParameter(error.message) from error


def check_selector(version: int | None, alias: str | None) -> None:
    """Reject a version together with an alias."""
    if version is not None and alias is not None:
        raise typer.BadParameter("--version and --alias both choose a version; give one")
