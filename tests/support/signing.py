"""Keys, certificates and signatures of bundles."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from convscope.bundle.layout import SIGNATURE
from convscope.bundle.reader import read_bundle
from convscope.bundle.signing import Signer, make_signature


@dataclass(frozen=True)
class KeyPair:
    """The PEM files of a key on an elliptic curve."""

    private: Path
    public: Path


def make_keys(directory: Path, name: str = "key", password: bytes | None = None) -> KeyPair:
    """Write NAME.key, which may be encrypted, and NAME.pem with the public key."""
    directory.mkdir(parents=True, exist_ok=True)
    pair = KeyPair(directory / f"{name}.key", directory / f"{name}.pem")
    key = ec.generate_private_key(ec.SECP256R1())
    pair.private.write_bytes(_private(key, password))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    pair.public.write_bytes(public)
    return pair


def sign(directory: Path, signer: Signer | KeyPair) -> Path:
    """Sign the bundle of a directory, and return the directory."""
    if isinstance(signer, KeyPair):
        signer = Signer(signer.private)
    (directory / SIGNATURE).write_bytes(make_signature(read_bundle(directory), signer))
    return directory


@dataclass(frozen=True)
class Authority:
    """The PEM files of an authority, and of a certificate that it issued with its key."""

    root: Path
    certificate: Path
    key: Path

    @property
    def signer(self) -> Signer:
        return Signer(self.key, certificate=self.certificate)


def make_authority(directory: Path) -> Authority:
    """Write ca.pem, leaf.pem and leaf.key."""
    directory.mkdir(parents=True, exist_ok=True)
    files = Authority(directory / "ca.pem", directory / "leaf.pem", directory / "leaf.key")
    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _certificate("root", root, "root", root, is_root=True)
    files.root.write_bytes(issuer.public_bytes(Encoding.PEM))
    certificate = _certificate("signer", leaf, "root", root, is_root=False)
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key.write_bytes(_private(leaf, None))
    return files


def _private(key: ec.EllipticCurvePrivateKey, password: bytes | None) -> bytes:
    protection: KeySerializationEncryption = (
        NoEncryption() if password is None else BestAvailableEncryption(password)
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_root: bool,
) -> x509.Certificate:
    subject, by = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer)
    )
    usage = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "encipher_only", "decipher_only"),
        ),
        False,
    )
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **usage
            ),
            critical=True,
        )
        .sign(issuer_key, hashes.SHA256())
    )
