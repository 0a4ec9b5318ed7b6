"""`convscope health`: whether a server is serving, for scripts and probes."""

from typing import Annotated

import typer

from convscope import _health
from convscope.client._connection.diagnosis import Diagnosis
from convscope.client._connection.options import ConnectionOptions
from convscope.client._connection.targets import check_target
from convscope.client.cli.completion import complete_models
from convscope.client.cli.options import (
    AllowInsecureToken,
    ClientCertificate,
    ClientKey,
    RootCertificates,
    Server,
    TokenFile,
    token_options,
)
from convscope.client.errors import InvalidInputError

__all__ = ["health"]


def health(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Check this model.",
            show_default="the whole server",
            autocompletion=complete_models,
        ),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="Wait so long until it is serving."),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    server: Server = _health.DEFAULT_SERVER,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0.001,
            help="How long one check may take.",
            rich_help_panel="Connection",
        ),
    ] = _health.DEFAULT_TIMEOUT,
    root_certificates: RootCertificates = None,
    client_certificate: ClientCertificate = None,
    client_key: ClientKey = None,
    token_file: TokenFile = None,
    allow_insecure_token: AllowInsecureToken = False,
) -> None:
    """Check whether a server is serving: exit with 0 if it is, with 1 if not.

    It calls grpc.health.v1, and never through a proxy. A server that loads its models, that shuts
    down, or that has a model without a ready version is not serving.

    Examples:
      convscope health && echo ready
      convscope health --server vision:8001 --wait 60
      convscope health --model efficientnet_lite0 --json

      # A container's health check, or exec probe of Kubernetes
      ["convscope", "health", "--server", "127.0.0.1:8001", "--timeout", "2"]
    """
    options = ConnectionOptions(
        root_certificates=root_certificates,
        client_certificate=client_certificate,
        client_key=client_key,
        allow_insecure_token=allow_insecure_token,
        **token_options(token_file),
    )
    try:
        tokens = options.token_source(check_target(server))
        credentials, diagnosis = (
            options.channel_credentials(),
            Diagnosis(server, options.tls_files(), uses_proxy=False),
        )
    except InvalidInputError as error:
        raise typer.BadParameter(error.message) from error
    found = _health.check(
        server,
        model,
        wait=wait,
        timeout=timeout,
        credentials=credentials,
        metadata=[("authorization", f"Bearer {tokens.get()}")] if tokens is not None else [],
    )
    problem = diagnosis.problem(found.message) if found.status == "UNAVAILABLE" else ""
    raise typer.Exit(_health.report(found, problem, as_json))
