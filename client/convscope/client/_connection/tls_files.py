"""The PEM files of a client for TLS, checked before the first call."""

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from convscope.client.errors import InvalidInputError

__all__ = ["TlsFiles"]

CERTIFICATE = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.+?-----END [A-Z0-9 ]+-----", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a client uses in the handshake.

    Args:
        roots: The authorities to trust, in PEM; None for those of the system.
        certificate: The client's own certificate chain: a PEM file, or its content.
        key: The key of that certificate.
        are_known: False for `grpc.ChannelCredentials`, whose content can't be read.
    """

    roots: bytes | None = field(default=None, repr=False)
    certificate: str | Path | bytes | None = field(default=None, repr=False)
    key: str | Path | bytes | None = field(default=None, repr=False)
    are_known: bool = True

    def context(self) -> ssl.SSLContext:
        """Return a context with the files.

        Raises:
            InvalidInputError: They can't be used, which gRPC reports only at the first call.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        if not self.are_known:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif not self.roots:
            context.load_default_certs()
        else:
            _load_roots(context, self.roots)
        # OpenSSL reads no key from memory.
        if isinstance(self.certificate, str | Path) and isinstance(self.key, str | Path):
            _load_own(context, Path(self.certificate), Path(self.key))
        return context


def _load_roots(context: ssl.SSLContext, roots: bytes) -> None:
    # Comments between the certificates need not be ASCII.
    certificates = b"\n".join(CERTIFICATE.findall(roots)).decode("latin-1")
    try:
        context.load_verify_locations(cadata=certificates)
    except (ValueError, ssl.SSLError) as error:
        raise InvalidInputError(
            "root_certificates (--root-certificates) contains no certificate in PEM, which starts "
            "with -----BEGIN CERTIFICATE-----"
        ) from error


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # Without a password, OpenSSL would ask for that of an encrypted key at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        problem = f"{certificate} and {key} can't be used; give PEM files, and a key without a "
        problem += "passphrase"
        if "MISMATCH" in (error.reason or ""):
            problem = f"the key in {key} is not that of the certificate in {certificate}"
        raise InvalidInputError(
            f"client_certificate and client_key (--client-certificate, --client-key): {problem}"
        ) from error
