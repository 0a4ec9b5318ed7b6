"""Why a TLS handshake fails.

gRPC reports most TLS mistakes as "Socket closed". After a failed call, `tls_problem` repeats the
handshake with Python's `ssl`, whose errors have a cause. A successful call never gets here.
"""

import socket
import ssl
from contextlib import suppress

from convscope.client._connection.tls_files import TlsFiles
from convscope.client.errors import InvalidInputError

__all__ = ["split_target", "tls_problem"]

TIMEOUT_SECONDS = 1.0
SCHEMES = ("dns:///", "dns:", "ipv4:", "ipv6:", "passthrough:///")
# OpenSSL's numbers of what is wrong with a certificate: X509_V_ERR_… in x509_vfy.h.
NOT_YET_VALID, EXPIRED = 9, 10
SELF_SIGNED, SELF_SIGNED_IN_CHAIN = 18, 19
NAME_MISMATCHES = (62, 64)  # of a host name, and of an IP address


def split_target(target: str) -> tuple[str, int] | None:
    """Return the host and the port of a target, or of its first address; None for other forms."""
    for scheme in SCHEMES:
        target = target.removeprefix(scheme)
    host, _, port = target.split(",")[0].rpartition(":")
    if not port.isdecimal() or not host or "/" in host or host.startswith("unix"):
        return None
    return host.strip("[]"), int(port)


def tls_problem(target: str, files: TlsFiles | None) -> str:
    """Return what is wrong with the TLS of a connection; empty if nothing is found.

    It takes a second at most.

    Args:
        target: The server.
        files: The client's files; None if it doesn't use TLS.
    """
    address = split_target(target)
    if address is None:
        return ""
    try:
        if files is None:
            return _without_tls(target, address)
        return _with_tls(target, address, files)
    except (OSError, InvalidInputError):  # the server has gone, or there is another problem
        return ""


def _without_tls(target: str, address: tuple[str, int]) -> str:
    """Return the problem of a client that doesn't use TLS: the server does."""
    try:
        with _handshake(address, TlsFiles(are_known=False)):
            pass
    except ssl.SSLError as error:
        if not _is_alert(error):
            return ""
    return (
        f"{target} uses TLS, and this client doesn't; give root_certificates "
        "(--root-certificates), the PEM file of the authority that issued the server's certificate"
    )


def _with_tls(target: str, address: tuple[str, int], files: TlsFiles) -> str:
    try:
        connection = _handshake(address, files)
    except ssl.SSLCertVerificationError as error:
        return _certificate_problem(target, address, files, error)
    except ssl.SSLError as error:
        return "" if _is_alert(error) or "EOF" in (error.reason or "") else _no_tls(target)
    with connection:
        try:
            # In TLS 1.3, the server checks the client's certificate only now. After that, it
            # begins HTTP/2; if not, it ends the connection, with or without an alert.
            is_accepted = bool(connection.recv(1))
        except TimeoutError:
            return ""
        except (ssl.SSLError, ConnectionError):
            is_accepted = False
    return "" if is_accepted or not files.are_known else _own_certificate(target, files)


def _no_tls(target: str) -> str:
    return (
        f"{target} doesn't use TLS, and this client does; leave out root_certificates "
        "(--root-certificates, $CONVSCOPE_ROOT_CERTIFICATES), or start the server with "
        "--tls-certificate and --tls-key"
    )


def _own_certificate(target: str, files: TlsFiles) -> str:
    """Return what a server expects that ends a connection after the handshake."""
    if files.certificate is None:
        return (
            f"{target} ends the connection after the TLS handshake, as it does if it asks for a "
            "client certificate; give client_certificate and client_key (--client-certificate, "
            "--client-key)"
        )
    return (
        f"{target} doesn't accept the client certificate; it must be valid now, and from an "
        "authority of the server's --tls-client-ca"
    )


def _certificate_problem(
    target: str, address: tuple[str, int], files: TlsFiles, error: ssl.SSLCertVerificationError
) -> str:
    subject = f"the certificate of {target}"
    if error.verify_code == EXPIRED:
        return f"{subject} has expired; renew it on the server, or check this machine's clock"
    if error.verify_code == NOT_YET_VALID:
        return f"{subject} is not valid yet; check the clocks of both machines"
    if error.verify_code in NAME_MISMATCHES:
        return (
            f"{subject} is for {_names(address, files)}, not for {address[0]}; use one of these "
            "names in the address, or add this one to the certificate"
        )
    repair = "give the PEM file of the authority that issued it"
    if error.verify_code in (SELF_SIGNED, SELF_SIGNED_IN_CHAIN):
        repair += ", which is the certificate itself if it is self-signed"
    return (
        f"{subject} is not from an authority that root_certificates (--root-certificates) "
        f"contains; {repair}"
    )


def _names(address: tuple[str, int], files: TlsFiles) -> str:
    """Return the names in the server's certificate."""
    found: list[str] = []
    with suppress(OSError), _handshake(address, files, check_name=False) as connection:
        certificate = connection.getpeercert() or {}
        # The stubs of ssl leave the values open.
        names: object = certificate.get("subjectAltName", ())
        found = [str(pair[1]) for pair in names] if isinstance(names, tuple) else []
    return ", ".join(found) or "another name"


def _is_alert(error: OSError) -> bool:
    """Report whether an error is a message of a server that uses TLS."""
    return "ALERT" in (getattr(error, "reason", None) or "").upper()


def _handshake(
    address: tuple[str, int], files: TlsFiles, *, check_name: bool = True
) -> ssl.SSLSocket:
    """Return a connection after its handshake, to be used in a with block."""
    context = files.context()
    context.check_hostname = context.check_hostname and check_name
    connection = socket.create_connection(address, TIMEOUT_SECONDS)
    try:
        connection.settimeout(TIMEOUT_SECONDS)
        return context.wrap_socket(connection, server_hostname=address[0])
    except BaseException:
        connection.close()
        raise
