"""`convscope health`: whether a server is serving, for scripts and probes."""

from typing import Annotated

import typer

from convscope import _health
from convscope.client._connection.diagnosis import Diagnosis
from convscope.client._connection.options import ConnectionOptions
from convscope.client.cli.completion import complete_models
from convscope.client.cli.connection import CheckConnection, options_that_agree, with_connection

__all__ = ["health"]


@with_connection
def health(
    connection: CheckConnection,
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
        typer.Option(metavar="SECONDS", min=0, help="Wait up to this long until it is serving."),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check whether a server is serving.

    The exit code is 0 if it is serving, and 1 if it is not.

    A server is not serving while it loads its models, and while it shuts down. It is not serving
    either if one of its models has no ready version.

    The check calls grpc.health.v1. It never goes through a proxy.

    Examples:
      convscope health && echo ready
      convscope health --server vision:8001 --wait 60
      convscope health --model efficientnet_lite0 --json

      # A container's health check, or exec probe of Kubernetes
      ["convscope", "health", "--server", "127.0.0.1:8001", "--timeout", "2"]
    """
    server = connection.server
    with options_that_agree():
        options = ConnectionOptions(**connection.credentials)
        tokens = options.token_source(server)
        credentials = options.channel_credentials()
        diagnosis = Diagnosis(server, options.tls_files(), uses_proxy=False)
    found = _health.check(
        server,
        model,
        wait=wait,
        timeout=connection.timeout,
        credentials=credentials,
        metadata=[("authorization", f"Bearer {tokens.get()}")] if tokens is not None else [],
    )
    problem = diagnosis.problem(found.message) if found.status == "UNAVAILABLE" else ""
    raise typer.Exit(_health.report(found, problem, as_json))
