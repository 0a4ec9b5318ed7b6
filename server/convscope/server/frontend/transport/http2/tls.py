"""TLS contexts that follow their files."""

import ssl
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TlsFiles"]


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

    def context(self) -> ssl.SSLContext:
        """Return a context with what the files contain now.

        Raises:
            OSError: A file can't be read.
            ssl.SSLError: A file is not PEM, or the key is not that of the certificate.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(self.certificate, self.key)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def state(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what changes when one of the files does."""
        return tuple(_state(path) for path in (self.certificate, self.key, self.client_ca) if path)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
