"""The options that several commands share, and what they mean."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.client._calls.client import Client
from convscope.client.cli.completion import complete_models
from convscope.client.cli.token_options import token_options
from convscope.client.errors import InvalidInputError

__all__ = [
    "Alias",
    "AllowInsecureToken",
    "ClientCertificate",
    "ClientKey",
    "Json",
    "Model",
    "RootCertificates",
    "Server",
    "Timeout",
    "TokenFile",
    "Version",
    "check_selector",
    "open_client",
    "token_options",
]

CONNECTION = "Connection"

Model = Annotated[
    str,
    typer.Option(metavar="NAME", help="The model's name.", autocompletion=complete_models),
]
Server = Annotated[
    str,
    typer.Option(
        envvar="CONVSCOPE_SERVER",
        metavar="HOST:PORT",
        help="The server's address.",
        rich_help_panel=CONNECTION,
    ),
]
RootCertificates = Annotated[
    Path | None,
    typer.Option(
        envvar="CONVSCOPE_ROOT_CERTIFICATES",
        metavar="FILE",
        help="Use TLS, and trust the certificates of this PEM file.",
        show_default="no TLS",
        exists=True,
        dir_okay=False,
        rich_help_panel=CONNECTION,
    ),
]
ClientCertificate = Annotated[
    Path | None,
    typer.Option(
        envvar="CONVSCOPE_CLIENT_CERTIFICATE",
        metavar="FILE",
        help="PEM file of the own certificate, for a server that asks for one.",
        show_default="none",
        exists=True,
        dir_okay=False,
        rich_help_panel=CONNECTION,
    ),
]
ClientKey = Annotated[
    Path | None,
    typer.Option(
        envvar="CONVSCOPE_CLIENT_KEY",
        metavar="FILE",
        help="PEM file of the private key of --client-certificate.",
        show_default="none",
        exists=True,
        dir_okay=False,
        rich_help_panel=CONNECTION,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="CONVSCOPE_TOKEN_FILE",
        metavar="FILE",
        help="File with the token to send.",
        show_default="$CONVSCOPE_TOKEN, if it is set",
        exists=True,
        dir_okay=False,
        rich_help_panel=CONNECTION,
    ),
]
AllowInsecureToken = Annotated[
    bool,
    typer.Option(
        "--allow-insecure-token",
        envvar="CONVSCOPE_ALLOW_INSECURE_TOKEN",
        help="Send the token to another machine without TLS.",
        rich_help_panel=CONNECTION,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.001,
        help="How long one call may take.",
        rich_help_panel=CONNECTION,
    ),
]
Version = Annotated[
    int | None, typer.Option(min=1, help="The version.", show_default="the server's default")
]
Alias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The version, by one of its aliases.",
        show_default="the server's default",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


class _CommandClient(Client):
    """A client whose messages name the options of the commands."""

    _timeout_name = "--timeout"
    _token_name = "--token-file or $CONVSCOPE_TOKEN"


def open_client(
    server: str,
    timeout: float,
    root_certificates: Path | None,
    client_certificate: Path | None,
    client_key: Path | None,
    token_file: Path | None,
    allow_insecure_token: bool,
) -> Client:
    """Return a client, to be used in a with block."""
    try:
        return _CommandClient(
            server,
            timeout_seconds=timeout,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
            allow_insecure_token=allow_insecure_token,
            **token_options(token_file),
        )
    except InvalidInputError as error:
        raise typer.BadParameter(error.message) from error


def check_selector(version: int | None, alias: str | None) -> None:
    """Reject a version together with an alias."""
    if version is not None and alias is not None:
        raise typer.BadParameter("--version and --alias both choose a version; give one")
