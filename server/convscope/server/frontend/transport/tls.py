"""The files of TLS, as each transport uses them; both follow changes of the files."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc
import structlog

from convscope.server.frontend.settings import FrontendSettings

__all__ = ["UNUSABLE_MESSAGE", "TlsFiles"]

log = structlog.get_logger(__name__)

UNUSABLE_MESSAGE = (
    "the TLS files can't be used; are --tls-certificate, --tls-key and --tls-client-ca PEM files "
    "that belong together, and is the key without a passphrase?"
)


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """The PEM files of a listener.

    Args:
        certificate: The certificate chain.
        key: The private key.
        client_ca: The authorities of client certificates, which are required then.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, settings: FrontendSettings) -> Self | None:
        """Return the files of the settings; None if there is no TLS."""
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        return cls(
            certificate=settings.tls_certificate,
            key=settings.tls_key,
            client_ca=settings.tls_client_ca,
        )

    def context(self) -> ssl.SSLContext:
        """Return a context with what the files contain now.

        Raises:
            OSError: A file can't be read.
            ssl.SSLError: A file is not PEM, the key is encrypted, or it is not that of the
                certificate.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        # Without a password, OpenSSL would ask for that of an encrypted key at the terminal.
        context.load_cert_chain(self.certificate, self.key, password="")
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """Return grpc's credentials; each handshake looks whether a file has changed.

        Raises:
            OSError: A file can't be read.
        """
        used = self.state()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal used
            if (state := self.state()) == used:
                return None
            used = state
            try:
                self.context()  # grpc has one error for everything, and writes it itself
                return self._configuration()
            except OSError as error:  # ssl.SSLError is one
                log.error("the changed TLS files can't be used", error=str(error))
                return None

        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            changed,  # type: ignore[arg-type] # None means that nothing has changed
            require_client_authentication=self.client_ca is not None,
        )

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        authorities = None if self.client_ca is None else self.client_ca.read_bytes()
        return grpc.ssl_server_certificate_configuration([pair], authorities)

    def state(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what changes when one of the files does."""
        return tuple(_state(path) for path in (self.certificate, self.key, self.client_ca) if path)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
