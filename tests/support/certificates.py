"""Certificates: self-signed ones, and those of an authority with everything that can be wrong."""

import ipaddress
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "make_certificate"]


class Authority:
    """Issues certificates.

    Args:
        folder: The folder of its certificate and of those that it issues.
        name: Its name.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = _builder(self._name, (-1, 2)).public_key(self._key.public_key())
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.issuer_name(self._name).add_extension(constraints, critical=True)
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = ("localhost", "127.0.0.1"),
        valid_days: tuple[int, int] = (-1, 2),
    ) -> tuple[Path, Path]:
        """Issue a certificate; return its file and that of its key.

        Args:
            name: The name of its owner.
            hosts: The host names and IP addresses that it is for.
            valid_days: From when and until when it is valid, in days from now.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        builder = _builder(_name(name), valid_days).issuer_name(self._name)
        builder = builder.public_key(key.public_key()).add_extension(names, critical=False)
        chain, key_file = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        chain.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return chain, key_file


def _builder(subject: x509.Name, valid_days: tuple[int, int]) -> x509.CertificateBuilder:
    start, end = (datetime.now(UTC) + timedelta(days=days) for days in valid_days)
    builder = x509.CertificateBuilder().subject_name(subject).not_valid_before(start)
    return builder.not_valid_after(end).serial_number(x509.random_serial_number())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(text))
    return x509.DNSName(text)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for localhost that is its own authority; return its file and its key."""
    chain, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(chain)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed; it makes the certificate")
    return chain, key
