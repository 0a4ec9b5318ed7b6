"""Checks the signature of a bundle: an OpenSSF model signature, in the file model.sig.

The signature is a Sigstore bundle around an in-toto statement with the SHA-256 of the
manifest and of the files that the manifest lists. The library model-signing checks it.
It is imported here at the first use, because it belongs to the extra `signing`.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.bundle.errors import BundleRejectedError, SigningError, reason_of

if TYPE_CHECKING:
    from model_signing import verifying

__all__ = ["TrustedSigners", "check_signature", "has_library", "public_keys"]

_SHOWN_DIGITS = 12
_MAX_KEY_BYTES = 2**16
_LIBRARIES = ("model_signing", "OpenSSL")  # model-signing 1.1.1 doesn't declare the second
_UNSIGNED = (
    "the bundle isn't signed, and a signature is required; sign it with convscope-exporter sign"
)


@dataclass(frozen=True, slots=True)
class TrustedSigners:
    """Who may sign bundles. One of them is enough. The files are read at each check.

    Args:
        keys: A PEM file with a public key on an elliptic curve, or a directory of *.pem files.
        authorities: A PEM file with the authorities of signing certificates.
        identity: The identity of a Sigstore signer, such as an email address.
        issuer: The OpenID Connect issuer that confirmed the identity.
        trust_config: Sigstore's trust configuration; None for the public instance.
    """

    keys: Path | None = None
    authorities: Path | None = None
    identity: str | None = None
    issuer: str | None = None
    trust_config: Path | None = None


def has_library() -> bool:
    """Whether the libraries of the extra `signing` are installed."""
    return all(find_spec(name) is not None for name in _LIBRARIES)


def public_keys(path: Path) -> dict[str, Path]:
    """Return the file of each public key, by the hash that a signature states.

    Args:
        path: A PEM file, or a directory of *.pem files.

    Raises:
        SigningError: There is none, or one can't be read or used.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_public_key,
    )

    keys = {}
    try:
        files = sorted(path.glob("[!.]*.pem")) if path.is_dir() else [path]
        for file in files:
            key = load_pem_public_key(file.read_bytes()[:_MAX_KEY_BYTES])
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise SigningError(f"{file.name} is not a key on an elliptic curve")
            text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            keys[hashlib.sha256(text).hexdigest()] = file
    except OSError as error:
        raise SigningError(f"{path.name} can't be read: {reason_of(error)}") from error
    except ValueError as error:
        raise SigningError(
            f"{file.name} is not a public key in PEM; make one with: openssl ec -in key.pem -pubout"
        ) from error
    if not keys:
        raise SigningError(f"the directory {path.name} has no file *.pem")
    return keys


def check_signature(
    signature: bytes | None, digests: Mapping[str, str], trusted: TrustedSigners
) -> None:
    """Check that one of the trusted signers signed exactly these files.

    Args:
        signature: The content of model.sig; None if there is no such file.
        digests: The SHA-256 of each file, by its name.
        trusted: Who may sign.

    Raises:
        BundleRejectedError: None of them did.
        SigningError: A key or certificate can't be read, or the library isn't installed.
    """
    if signature is None:
        raise BundleRejectedError("signature", _UNSIGNED)
    material = _material(signature)
    if not has_library():
        raise SigningError("signatures need the extra `signing`, which isn't installed")
    config = _configured(material, trusted)
    from convscope.bundle.signed_files import SignedFiles

    files = SignedFiles(digests)
    config.set_hashing_config(files)
    with tempfile.TemporaryDirectory(prefix="convscope-") as scratch:
        path = Path(scratch) / "model.sig"
        path.write_bytes(signature)
        try:
            config.verify(scratch, path)
        except Exception as error:  # the library's, pydantic's and cryptography's have no base
            raise _rejection(error, files.was_compared, digests) from error


def _material(signature: bytes) -> Mapping[str, Any]:
    """Return the part of a signature that says how it was made."""
    try:
        material = json.loads(signature)["verificationMaterial"]
        if not isinstance(material, dict):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BundleRejectedError(
            "signature", "model.sig is not a Sigstore bundle; sign the bundle again"
        ) from error
    return material


def _configured(material: Mapping[str, Any], trusted: TrustedSigners) -> "verifying.Config":
    """Return the library's configuration for the kind of signer that a signature states.

    Raises:
        BundleRejectedError: No signer of this kind is trusted.
    """
    from model_signing import verifying

    config = verifying.Config()
    if "publicKey" in material and trusted.keys is not None:
        return config.use_elliptic_key_verifier(public_key=_key_of(material, trusted.keys))
    if "x509CertificateChain" in material and trusted.authorities is not None:
        return config.use_certificate_verifier(certificate_chain=[trusted.authorities])
    if "certificate" in material and trusted.identity and trusted.issuer:
        return config.use_sigstore_verifier(
            identity=trusted.identity, oidc_issuer=trusted.issuer, trust_config=trusted.trust_config
        )
    raise BundleRejectedError(
        "signature", "the bundle is signed in a way that isn't trusted here; " + _accepted(trusted)
    )


def _key_of(material: Mapping[str, Any], keys: Path) -> Path:
    """Return the file of the key whose hash a signature states.

    Signatures without a hash come from versions of the library before 1.0, which
    differ in more than that.
    """
    key = material["publicKey"]
    stated = key.get("hint") if isinstance(key, dict) else None
    known = public_keys(keys)
    if isinstance(stated, str) and stated in known:
        return known[stated]
    shown = f"{stated[:_SHOWN_DIGITS]}…" if isinstance(stated, str) else "without a hash"
    trusted = ", ".join(f"{one[:_SHOWN_DIGITS]}…" for one in known)
    raise BundleRejectedError(
        "signature", f"the bundle is signed with the key {shown}; trusted is: {trusted}"
    )


def _accepted(trusted: TrustedSigners) -> str:
    kinds = {
        "a key": trusted.keys,
        "a certificate": trusted.authorities,
        "a Sigstore identity": trusted.identity,
    }
    return f"sign it with {' or '.join(kind for kind, value in kinds.items() if value)}"


def _rejection(
    error: Exception, was_compared: bool, digests: Mapping[str, str]
) -> BundleRejectedError:
    """Return the error for what the library raised."""
    if not was_compared:  # it compares files only after the signature itself is valid
        return BundleRejectedError(
            "signature", "the signature is not valid, or of a signer that isn't trusted"
        )
    changed = [name for name in sorted(digests) if name in str(error)]
    shown = ", ".join(changed) or "other files"
    return BundleRejectedError(
        "signature", f"the signature covers other content: {shown}; sign the bundle again"
    )
