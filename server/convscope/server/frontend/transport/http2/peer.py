"""The other end of a connection: its address, and its certificate."""

import ssl
from asyncio import BaseTransport
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

__all__ = ["ConnectionPeer"]


class ConnectionPeer:
    """What is known of a client.

    Args:
        transport: Its connection.
    """

    def __init__(self, transport: BaseTransport) -> None:
        self._transport = transport
        self._address = transport.get_extra_info("peername")

    @property
    def has_http2(self) -> bool:
        """Whether the client agreed to HTTP/2 during TLS's handshake."""
        session = self._transport.get_extra_info("ssl_object")
        return session is not None and session.selected_alpn_protocol() == "h2"

    @cached_property
    def peer(self) -> str:
        """Its address, as gRPC writes it."""
        address = self._address
        if not isinstance(address, tuple):
            return "unix:"
        if len(address) == 2:
            return f"ipv4:{address[0]}:{address[1]}"
        host = str(address[0])
        if host.startswith("::ffff:"):
            return f"ipv4:{host[7:]}:{address[1]}"
        return f"ipv6:[{host}]:{address[1]}"

    @cached_property
    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS knows of it, by gRPC's names."""
        session = self._transport.get_extra_info("ssl_object")
        if session is None:
            return {}
        found: dict[str, list[bytes]] = {"transport_security_type": [b"ssl"]}
        certificate: dict[str, Any] = session.getpeercert() or {}
        for names in certificate.get("subject", ()):
            for key, value in names:
                if key == "commonName":
                    found.setdefault("x509_common_name", []).append(value.encode())
        for kind, value in certificate.get("subjectAltName", ()):
            found.setdefault("x509_subject_alternative_name", []).append(str(value).encode())
            if kind in ("DNS", "URI"):
                found.setdefault(f"peer_{kind.lower()}", []).append(str(value).encode())
        if der := session.getpeercert(binary_form=True):
            found["x509_pem_cert"] = [ssl.DER_cert_to_PEM_cert(der).encode()]
        return found
