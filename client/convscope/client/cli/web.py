"""`convscope web`: the web page and the HTTP API of a server."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.client.cli.error_output import print_error
from convscope.client.cli.options import (
    AllowInsecureToken,
    ClientCertificate,
    ClientKey,
    RootCertificates,
    Server,
)

__all__ = ["web"]

_INSTALL = (
    "`convscope web` needs the extra web, which is not installed ({missing} is missing); in a "
    "clone of the repository: pip install '.[web]'"
)


def web(
    server: Server = "localhost:8001",
    root_certificates: RootCertificates = None,
    client_certificate: ClientCertificate = None,
    client_key: ClientKey = None,
    server_token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="CONVSCOPE_SERVER_TOKEN_FILE",
            help="File with the token for requests that bring none. Everyone who reaches "
            "--http-address can then use it.",
            show_default="none",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    allow_insecure_token: AllowInsecureToken = False,
    http_address: Annotated[
        str,
        typer.Option(
            envvar="CONVSCOPE_HTTP_ADDRESS",
            metavar="HOST:PORT",
            help="Where to listen. It checks no callers: the server does, by their tokens.",
        ),
    ] = "127.0.0.1:8080",
    root_path: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="The path below which a reverse proxy publishes it, such as /vision.",
            show_default="none",
        ),
    ] = "",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Accept only requests for this host name and localhost; may be repeated.",
            show_default="localhost; all if other machines can reach --http-address, and only "
            "addresses if it has credentials of its own",
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
            help="The seconds of a request that states no timeout.",
            show_default="30, at most --max-timeout",
        ),
    ] = None,
    max_timeout: Annotated[
        float, typer.Option(min=0.001, help="The longest timeout that a request may state.")
    ] = 300.0,
    upload_timeout: Annotated[
        float, typer.Option(min=0.001, help="The longest pause of an upload, in seconds.")
    ] = 10.0,
    max_body_bytes: Annotated[
        int, typer.Option(min=1024, help="The largest body of a request.")
    ] = 16 * 2**20,
    max_memory_in_flight: Annotated[
        int, typer.Option(min=2**20, help="The bytes of all unfinished requests together.")
    ] = 256 * 2**20,
    drain_seconds: Annotated[
        float,
        typer.Option(min=0, help="How long to accept requests after SIGTERM, as /readyz fails."),
    ] = 1.0,
    grace_seconds: Annotated[
        float, typer.Option(min=1, help="How long requests may take after that.")
    ] = 10.0,
    access_log: Annotated[bool, typer.Option(help="Log each request.")] = True,
) -> None:
    """Serve a web page and an HTTP API for a server.

    Examples:
      convscope web
      convscope web --server vision:8001 --http-address 0.0.0.0:8080 --allowed-host vision.lan
      convscope web --root-path /vision --access-log
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
        server=server,
        root_certificates=root_certificates,
        client_certificate=client_certificate,
        client_key=client_key,
        server_token_file=server_token_file,
        allow_insecure_token=allow_insecure_token,
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
