"""`convscope web`: the web page and the HTTP API of a server."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.client.cli.connection import ServerConnection, with_connection
from convscope.client.cli.error_output import print_error

__all__ = ["web"]

_INSTALL = (
    "`convscope web` needs the extra web, which is not installed ({missing} is missing); in a "
    "clone of the repository: pip install '.[web]'"
)


@with_connection
def web(
    connection: ServerConnection,
    server_token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="CONVSCOPE_SERVER_TOKEN_FILE",
            help="File with the token for requests without one. Everyone who reaches "
            "--http-address can then use it.",
            show_default="none",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    http_address: Annotated[
        str,
        typer.Option(
            envvar="CONVSCOPE_HTTP_ADDRESS",
            metavar="HOST:PORT",
            help="Address to listen on. The server checks the tokens of callers, not this command.",
        ),
    ] = "127.0.0.1:8080",
    root_path: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Path at which a reverse proxy publishes it, such as /vision.",
            show_default="none",
        ),
    ] = "",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Accept only requests for this host name and localhost; may be repeated.",
            show_default="only localhost; if other machines can reach --http-address, all, or only "
            "IP addresses with --server-token-file or --client-certificate",
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Let scripts of this origin, such as https://example.org, call the API; "
            "may be repeated.",
            show_default="none",
        ),
    ] = None,
    forward_header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Pass this header of each request on to the server, in addition to "
            "authorization, traceparent, tracestate and x-request-id; may be repeated.",
            show_default="none",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Timeout of a request that states none, in seconds.",
            show_default="30, at most --max-timeout",
        ),
    ] = None,
    max_timeout: Annotated[
        float, typer.Option(min=0.001, help="Longest timeout that a request may state, in seconds.")
    ] = 300.0,
    upload_timeout: Annotated[
        float, typer.Option(min=0.001, help="Longest pause of an upload, in seconds.")
    ] = 10.0,
    max_body_bytes: Annotated[
        int, typer.Option(min=1024, help="Largest body of a request, in bytes.")
    ] = 16 * 2**20,
    max_memory_in_flight: Annotated[
        int,
        typer.Option(min=2**20, help="Largest size of all unfinished requests, in bytes."),
    ] = 256 * 2**20,
    drain_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            help="After SIGTERM, seconds of accepting requests while /readyz fails.",
        ),
    ] = 1.0,
    grace_seconds: Annotated[
        float, typer.Option(min=1, help="After that, seconds that unfinished requests may take.")
    ] = 10.0,
    access_log: Annotated[bool, typer.Option(help="Log each request.")] = True,
) -> None:
    """Serve a web page and an HTTP API for a server.

    Examples:
      convscope web
      convscope web --server vision:8001 --http-address 0.0.0.0:8080 --allowed-host vision.lan
      convscope web --root-path /vision --no-access-log
    """
    if timeout is not None and timeout > max_timeout:
        message = f"{timeout:g} is more than --max-timeout, {max_timeout:g}"
        raise typer.BadParameter(message, param_hint="--timeout")
    try:
        from convscope.web.serving import StartError, serve
        from convscope.web.settings import FORWARDED_HEADERS, WebSettings
    except ImportError as error:
        print_error(_INSTALL.format(missing=error.name or error))
        raise typer.Exit(1) from error
    settings = WebSettings(
        server=connection.server,
        server_token_file=server_token_file,
        **connection.tls,
        http_address=http_address,
        root_path=f"/{path}" if (path := root_path.strip("/")) else "",
        allowed_hosts=tuple(allowed_host or ()),
        origins=tuple(cors_origin or ()),
        forwarded_headers=(*FORWARDED_HEADERS, *(forward_header or ())),
        timeout_seconds=min(30.0, max_timeout) if timeout is None else timeout,
        max_timeout_seconds=max_timeout,
        upload_timeout_seconds=upload_timeout,
        max_body_bytes=max_body_bytes,
        max_memory_in_flight=max_memory_in_flight,
        drain_seconds=drain_seconds,
        grace_seconds=grace_seconds,
        access_log=access_log,
    )
    try:
        serve(settings)
    except StartError as error:
        print_error(str(error))
        raise typer.Exit(1) from error
