"""The `convscope` command."""

from importlib import metadata
from typing import Annotated

import typer

from convscope.client.cli import admin, json_output, model_tables
from convscope.client.cli.classify import classify
from convscope.client.cli.error_output import print_error
from convscope.client.cli.explain import explain
from convscope.client.cli.image_command import ImageCommand
from convscope.client.cli.missing_options import ExplainingCommand
from convscope.client.cli.options import (
    Alias,
    AllowInsecureToken,
    ClientCertificate,
    ClientKey,
    Json,
    RootCertificates,
    Server,
    Timeout,
    TokenFile,
    Version,
    check_selector,
    open_client,
)
from convscope.client.cli.web import web
from convscope.client.errors import ConvscopeError

__all__ = ["app"]

_HELP = "Classify images with a Convscope server, and see what the network sees."

app = typer.Typer(
    rich_markup_mode=None,  # its tables cut names off
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=_HELP,
)
app.add_typer(admin.app, name="admin")


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


app.command(cls=ImageCommand)(classify)
app.command(cls=ImageCommand)(explain)
app.command(cls=ExplainingCommand)(web)


@app.command(cls=ExplainingCommand)
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
    client_certificate: ClientCertificate = None,
    client_key: ClientKey = None,
    token_file: TokenFile = None,
    allow_insecure_token: AllowInsecureToken = False,
    timeout: Timeout = 30.0,
    as_json: Json = False,
) -> None:
    """List the models of the server, or describe one."""
    check_selector(version, alias)
    if name is None and (version is not None or alias is not None):
        raise typer.BadParameter("--version and --alias need the NAME of a model")
    client = open_client(
        server,
        timeout,
        root_certificates,
        client_certificate,
        client_key,
        token_file,
        allow_insecure_token,
    )
    try:
        with client:
            if name is None:
                found = client.models()
                (json_output if as_json else model_tables).print_models(found)
                if not found:
                    typer.echo("no version is loaded now; some may be loaded on demand", err=True)
            else:
                info = client.model(name, version=version, alias=alias)
                (json_output if as_json else model_tables).print_model(info)
    except ConvscopeError as error:
        print_error(error.message)
        raise typer.Exit(1) from error
