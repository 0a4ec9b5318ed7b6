"""Signs a bundle in the OpenSSF format for model signatures; see `signatures`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.bundle.errors import SigningError, reason_of
from convscope.bundle.layout import LISTED_FILES
from convscope.bundle.reader import Bundle
from convscope.bundle.signatures import has_library

if TYPE_CHECKING:
    from model_signing import signing

__all__ = ["Signer", "check_signer", "make_signature"]


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with a key, with a certificate, or without both through Sigstore.

    Args:
        key: A PEM file with a private key on an elliptic curve; None for Sigstore.
        password: The password of the key; None if it isn't encrypted.
        certificate: A PEM file with the certificate of the key.
        chain: A PEM file with the intermediate authorities of the certificate.
    """

    key: Path | None = None
    password: str | None = None
    certificate: Path | None = None
    chain: Path | None = None


def check_signer(signer: Signer) -> None:
    """Read the key and certificate, so that nothing long is done for one that can't be used.

    Raises:
        SigningError: The key or certificate can't be used, or the library isn't installed.
    """
    if not has_library():
        raise SigningError(
            "signing needs the extra `signing`; in a clone of the repository, run: "
            "pip install '.[exporter,signing]'"
        )
    if signer.key is not None:
        with _signing_errors(signer):
            _configured(signer)


def make_signature(bundle: Bundle, signer: Signer) -> bytes:
    """Return the content of model.sig for a bundle.

    Raises:
        BundleRejectedError: A file isn't what the manifest states.
        SigningError: The key or certificate can't be used, or the library isn't installed.
    """
    for name in LISTED_FILES:
        bundle.read_file(name)
    check_signer(signer)
    from convscope.bundle.signed_files import SignedFiles

    manifest = bundle.manifest
    files = SignedFiles(bundle.digests, f"{manifest.model}/{manifest.version}")
    with tempfile.TemporaryDirectory(prefix="convscope-") as scratch:
        path = Path(scratch) / "model.sig"
        with _signing_errors(signer):
            _configured(signer).set_hashing_config(files).sign(scratch, path)
            return path.read_bytes()


@contextmanager
def _signing_errors(signer: Signer) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the library's and cryptography's have no common base
        by = "" if signer.key is None else f" with {signer.key}"
        raise SigningError(f"the bundle can't be signed{by}: {reason_of(error)}") from error


def _configured(signer: Signer) -> "signing.Config":
    from model_signing import signing

    config = signing.Config()
    if signer.key is None:
        return config.use_sigstore_signer(use_ambient_credentials=True)
    if signer.certificate is not None:
        return config.use_certificate_signer(
            private_key=signer.key,
            signing_certificate=signer.certificate,
            # The library needs at least one certificate here.
            certificate_chain=[signer.chain or signer.certificate],
        )
    # The library passes the password on to cryptography, which takes bytes.
    password = None if signer.password is None else signer.password.encode()
    return config.use_elliptic_key_signer(
        private_key=signer.key,
        password=password,  # type: ignore[arg-type]
    )
