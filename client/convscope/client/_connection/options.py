"""How a client proves who it is, and how it checks the server: checked, and in one place."""

from dataclasses import dataclass, field
from pathlib import Path

import grpc

from convscope.client._connection.tls_files import TlsFiles
from convscope.client._connection.tokens import (
    CallableToken,
    FileToken,
    FixedToken,
    Token,
    TokenSource,
)
from convscope.client.errors import InvalidInputError

__all__ = ["ConnectionOptions", "Pem", "is_local"]

Pem = str | Path | bytes
"""A PEM file, or its content."""


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """TLS and credentials. `Client` describes each option. No secret is part of the repr.

    Raises:
        InvalidInputError: The options don't agree.
    """

    tls: grpc.ChannelCredentials | None = field(default=None, repr=False)
    root_certificates: Pem | None = field(default=None, repr=False)
    client_certificate: Pem | None = field(default=None, repr=False)
    client_key: Pem | None = field(default=None, repr=False)
    token: Token | None = field(default=None, repr=False)
    token_file: str | Path | None = None
    allow_insecure_token: bool = False

    def __post_init__(self) -> None:
        files = (self.root_certificates, self.client_certificate, self.client_key)
        if self.tls is not None and any(file is not None for file in files):
            name = "client_certificate" if self.root_certificates is None else "root_certificates"
            raise InvalidInputError(
                f"tls and {name} are both given; give one: tls can contain the certificates"
            )
        if (self.client_certificate is None) != (self.client_key is None):
            raise InvalidInputError("client_certificate and client_key go together; give both")
        if self.token is not None and self.token_file is not None:
            raise InvalidInputError("token and token_file are both given; give one")
        if not (self.token is None or isinstance(self.token, str) or callable(self.token)):
            raise InvalidInputError("token must be a str, or a function that returns one")

    @property
    def is_secure(self) -> bool:
        """Whether the connection uses TLS."""
        files = (self.tls, self.root_certificates, self.client_certificate)
        return any(each is not None for each in files)

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Return the credentials of a channel, or None if it isn't secured.

        Raises:
            InvalidInputError: A file can't be read.
        """
        if self.tls is not None or not self.is_secure:
            return self.tls
        credentials = grpc.ssl_channel_credentials(
            _read("root_certificates", self.root_certificates),
            _read("client_key", self.client_key),
            _read("client_certificate", self.client_certificate),
        )
        if (files := self.tls_files()) is not None:
            files.context()
        return credentials

    def tls_files(self) -> TlsFiles | None:
        """Return what the handshake uses; None without TLS.

        Raises:
            InvalidInputError: A file can't be read.
        """
        if not self.is_secure:
            return None
        return TlsFiles(
            _read("root_certificates", self.root_certificates),
            self.client_certificate,
            self.client_key,
            are_known=self.tls is None,
        )

    def token_source(self, target: str) -> TokenSource | None:
        """Return the source of the tokens for a target; None without a token.

        Raises:
            InvalidInputError: There is no usable token, or it would be sent over a network
                without encryption.
        """
        if self.token is None and self.token_file is None:
            return None
        if not (self.is_secure or is_local(target) or self.allow_insecure_token):
            raise InvalidInputError(
                f"the token would be readable on the way to {target}; use TLS with "
                "root_certificates, or allow it with allow_insecure_token"
            )
        if self.token_file is not None:
            return FileToken(Path(self.token_file))
        if isinstance(self.token, str):
            return FixedToken(self.token)
        return CallableToken(self.token) if self.token is not None else None


def is_local(target: str) -> bool:
    """Report whether the way to a target is within this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:", "passthrough:///"):
        target = target.removeprefix(scheme)
    # Several addresses are separated by commas.
    return all(_is_loopback(each.rpartition(":")[0]) for each in target.split(","))


def _is_loopback(host: str) -> bool:
    numbers = host.split(".")
    is_ipv4 = len(numbers) == 4 and all(number.isdecimal() for number in numbers)
    return host in ("localhost", "[::1]") or (is_ipv4 and numbers[0] == "127")


def _read(name: str, source: Pem | None) -> bytes | None:
    if source is None or isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"{name} {str(source)!r} can't be read: {error.strerror}"
        ) from error
