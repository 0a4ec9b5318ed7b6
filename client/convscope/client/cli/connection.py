"""The options with which commands reach a server: one group, declared once.

A command has one parameter for all of them::

    @with_connection
    def models(connection: Connection, name: str) -> None:
        with connection.client() as client:
            ...
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from convscope.client._calls.async_client import AsyncClient
from convscope.client._calls.client import Client
from convscope.client._connection.targets import check_target
from convscope.client.cli.token_options import token_options
from convscope.client.errors import InvalidInputError

__all__ = [
    "CheckConnection",
    "Connection",
    "ServerConnection",
    "TokenFile",
    "check_address",
    "check_address_with",
    "options_that_agree",
    "with_connection",
]

PANEL = "Connection"
DEFAULT_SERVER = "localhost:8001"
DEFAULT_CHECK_SECONDS = 5.0
# The names of a client's parameters in its messages.
_PARAMETER = re.compile(
    r"\b(root_certificates|client_certificate|client_key|token_file|allow_insecure_token)\b"
)


def check_address(address: str) -> str:
    """Return the address of a server.

    Raises:
        typer.BadParameter: It has another form than HOST:PORT and the like.
    """
    return check_address_with(address, "8001")


def check_address_with(address: str, default_port: str) -> str:
    """Return an address; the example of an error has a port.

    Raises:
        typer.BadParameter: It has another form than HOST:PORT and the like.
    """
    try:
        return check_target(address)
    except InvalidInputError as error:
        repair = error.message.removeprefix(f"the target is {address!r}; ")
        repair = repair.replace(":8001", f":{default_port}")
        if address.isdecimal():
            repair = f"give HOST:PORT, such as localhost:{address} (the host is missing)"
        raise typer.BadParameter(f"{address!r} is not an address; {repair}") from error


@contextmanager
def options_that_agree() -> Iterator[None]:
    """Report options that contradict each other, by their names on the command line."""
    try:
        yield
    except InvalidInputError as error:
        raise typer.BadParameter(_PARAMETER.sub(_flag, error.message)) from error


def _flag(parameter: re.Match[str]) -> str:
    return f"--{parameter[0].replace('_', '-')}"


def _pem_option(variable: str, text: str, default: str) -> Any:
    return typer.Option(
        envvar=variable,
        metavar="FILE",
        help=text,
        show_default=default,
        exists=True,
        dir_okay=False,
        rich_help_panel=PANEL,
    )


Server = Annotated[
    str,
    typer.Option(
        envvar="CONVSCOPE_SERVER",
        metavar="HOST:PORT",
        help="The server's address.",
        rich_help_panel=PANEL,
        callback=check_address,
    ),
]
RootCertificates = Annotated[
    Path | None,
    _pem_option(
        "CONVSCOPE_ROOT_CERTIFICATES",
        "Use TLS, and trust the certificates in this PEM file.",
        "no TLS",
    ),
]
ClientCertificate = Annotated[
    Path | None,
    _pem_option(
        "CONVSCOPE_CLIENT_CERTIFICATE",
        "PEM file of your certificate, for a server that asks for one.",
        "none",
    ),
]
ClientKey = Annotated[
    Path | None,
    _pem_option(
        "CONVSCOPE_CLIENT_KEY", "PEM file of the private key of --client-certificate.", "none"
    ),
]
TokenFile = Annotated[
    Path | None,
    _pem_option(
        "CONVSCOPE_TOKEN_FILE", "File with the token to send.", "$CONVSCOPE_TOKEN, if it is set"
    ),
]
AllowInsecureToken = Annotated[
    bool,
    typer.Option(
        "--allow-insecure-token",
        envvar="CONVSCOPE_ALLOW_INSECURE_TOKEN",
        help="Send the token to another machine without TLS.",
        rich_help_panel=PANEL,
    ),
]


def _timeout(text: str) -> Any:
    return typer.Option(metavar="SECONDS", min=0.001, help=text, rich_help_panel=PANEL)


Timeout = Annotated[float, _timeout("How long one call may take.")]
CheckTimeout = Annotated[float, _timeout("How long one check may take.")]


class _CommandClient(Client):
    """A client whose messages name the options of the commands."""

    _timeout_name = "--timeout"
    _token_name = "--token-file or $CONVSCOPE_TOKEN"


class _AsyncCommandClient(AsyncClient):
    """A client whose messages name the options of the commands."""

    _timeout_name = "--timeout"
    _token_name = "--token-file or $CONVSCOPE_TOKEN"


@dataclass(frozen=True, kw_only=True)
class ServerConnection:
    """The address of a server, and TLS."""

    server: Server = DEFAULT_SERVER
    root_certificates: RootCertificates = None
    client_certificate: ClientCertificate = None
    client_key: ClientKey = None
    allow_insecure_token: AllowInsecureToken = False

    @property
    def tls(self) -> dict[str, Any]:
        """The arguments of a client about TLS."""
        return {
            "root_certificates": self.root_certificates,
            "client_certificate": self.client_certificate,
            "client_key": self.client_key,
            "allow_insecure_token": self.allow_insecure_token,
        }


@dataclass(frozen=True, kw_only=True)
class Connection(ServerConnection):
    """The address of a server, TLS, a token, and a timeout."""

    token_file: TokenFile = None
    timeout: Timeout = 30.0

    @property
    def credentials(self) -> dict[str, Any]:
        """The arguments of a client about TLS and the token."""
        return self.tls | token_options(self.token_file)

    def client(self) -> Client:
        """Return a client, to be used in a with block.

        Raises:
            typer.BadParameter: The options don't agree.
        """
        with options_that_agree():
            return _CommandClient(self.server, timeout_seconds=self.timeout, **self.credentials)

    def async_client(self) -> AsyncClient:
        """Return a client that sends each request on its own, to be used in an async with block.

        Raises:
            typer.BadParameter: The options don't agree.
        """
        with options_that_agree():
            return _AsyncCommandClient(
                self.server, timeout_seconds=self.timeout, coalesce=False, **self.credentials
            )


@dataclass(frozen=True, kw_only=True)
class CheckConnection(Connection):
    """The same, with the timeout of a check."""

    timeout: CheckTimeout = DEFAULT_CHECK_SECONDS


def with_connection(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its parameter `connection`, in the place of it."""
    signature = inspect.signature(command)
    kind: Any = get_type_hints(command)["connection"]
    hints = get_type_hints(kind, include_extras=True)
    options = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=hints[each.name],
        )
        for each in fields(kind)
    ]
    own = [each for name, each in signature.parameters.items() if name != "connection"]
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]

    @wraps(command)
    def run(**values: Any) -> None:
        connection = kind(**{each.name: values.pop(each.name) for each in options})
        command(connection=connection, **values)

    parameters = [*own, *options]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}
    return run
