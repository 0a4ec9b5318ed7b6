"""The options of a client: timeouts, retries, TLS and credentials, checked and in one place."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from convscope.client._connection.authorization import KEY as AUTHORIZATION
from convscope.client._connection.retries import DEFAULT_RETRIES, Retries
from convscope.client._connection.targets import is_local
from convscope.client._connection.tls_files import TlsFiles
from convscope.client._connection.tokens import (
    CallableToken,
    FileToken,
    FixedToken,
    Token,
    TokenSource,
)
from convscope.client._inputs.arguments import Oversize
from convscope.client._inputs.checks import CheckedMetadata, check_name, check_timeout
from convscope.client.errors import InvalidInputError

__all__ = ["ConnectionOptions", "Pem"]

Pem = str | Path | bytes
"""A PEM file, or its content."""


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """All arguments of a client but its target. `Client` describes each of them.

    No secret is part of the repr, or of a pickle.

    Raises:
        InvalidInputError: The options don't agree.
    """

    timeout_seconds: float = 30.0
    connect_timeout_seconds: float = 10.0
    connection_age_seconds: float | None = 300.0
    retries: Retries = DEFAULT_RETRIES
    model: str | None = None
    metadata: CheckedMetadata = field(default=(), repr=False)
    tls: grpc.ChannelCredentials | None = field(default=None, repr=False)
    root_certificates: Pem | None = field(default=None, repr=False)
    client_certificate: Pem | None = field(default=None, repr=False)
    client_key: Pem | None = field(default=None, repr=False)
    token: Token | None = field(default=None, repr=False)
    token_file: str | Path | None = None
    allow_insecure_token: bool = False
    oversize: Oversize = "shrink"
    coalesce: bool = True

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
        if self.model is not None:
            check_name("model", self.model)
        if self.connection_age_seconds is not None:
            check_timeout(self.connection_age_seconds, "connection_age_seconds")
        checked = {
            "connect_timeout_seconds": check_timeout(
                self.connect_timeout_seconds, "connect_timeout_seconds"
            ),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a pickle contains.

        Raises:
            TypeError: It would contain a secret, or something that has no meaning elsewhere.
        """
        if problem := self._problem_of_pickle():
            raise TypeError(f"the client can't be pickled: {problem}")
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return partial(type(self), **values), ()

    def _problem_of_pickle(self) -> str:
        """Return why the options can't be pickled; empty if they can."""
        has_authorization = any(key == AUTHORIZATION for key, _ in self.metadata)
        if callable(self.token):
            return "its token is a function; use token_file"
        if self.token is not None or has_authorization:
            return "the pickle would contain its token; use token_file"
        if isinstance(self.client_key, bytes):
            return "the pickle would contain its client_key; give the path of the key"
        if self.tls is not None:
            return (
                "tls is an object of this process; use root_certificates, client_certificate and "
                "client_key"
            )
        return ""

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


def _read(name: str, source: Pem | None) -> bytes | None:
    if source is None or isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"{name} {str(source)!r} can't be read: {error.strerror}"
        ) from error
