"""The manifest: parse it, and check that it is complete and consistent."""

from google.protobuf import json_format

from convscope.bundle.errors import BundleRejectedError, reason_of
from convscope.bundle.layout import LISTED_FILES, MANIFEST, is_model_name
from convscope.bundle.manifest_content import content_checks
from convscope.bundle.manifest_schema import (
    EXPLAINED_SCHEMA_VERSION,
    QUANTIZED_SCHEMA_VERSION,
    SCHEMA_VERSION,
    check_schema,
    stated_schema,
)
from convscope.bundle.manifest_values import MAX_SHOWN_CHARACTERS
from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "EXPLAINED_SCHEMA_VERSION",
    "QUANTIZED_SCHEMA_VERSION",
    "SCHEMA_VERSION",
    "check_files",
    "check_manifest",
    "parse_manifest",
    "write_manifest",
]

_FIX = "export the bundle again"


def parse_manifest(data: bytes) -> pb.ModelManifest:
    """Parse a manifest's JSON without checking its content.

    Raises:
        BundleRejectedError: It isn't a manifest, or one of a later schema.
    """
    try:
        return json_format.Parse(data, pb.ModelManifest())
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        check_schema(stated_schema(data))
        reason = reason_of(error)[:200].rstrip(".")
        raise BundleRejectedError(
            "manifest", f"{MANIFEST} is not a manifest: {reason}; {_FIX}"
        ) from error


def write_manifest(manifest: pb.ModelManifest) -> bytes:
    """Return the bytes of a manifest.json."""
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True)
    return f"{text}\n".encode()


def check_manifest(manifest: pb.ModelManifest, model: str, version: str) -> None:
    """Check that a manifest is complete, consistent, and belongs to its directory.

    Args:
        manifest: The manifest.
        model: The name of the model's directory.
        version: The name of the version's directory.

    Raises:
        BundleRejectedError: It isn't.
    """
    check_schema(manifest.schema_version)
    if not is_model_name(manifest.model) or (manifest.model, str(manifest.version)) != (
        model,
        version,
    ):
        stated = f"{manifest.model[:MAX_SHOWN_CHARACTERS]} v{manifest.version}"
        raise BundleRejectedError(
            "manifest",
            f"the manifest is of {stated}, the directory of {model} v{version}; move the bundle "
            "to the directory of its own model and version, or publish it under another number",
        )
    check_files(manifest)
    for problem, found in content_checks(manifest):
        if found:
            raise BundleRejectedError("manifest", f"{problem}; {_FIX}")


def check_files(manifest: pb.ModelManifest) -> None:
    """Check that a manifest lists the files of a bundle, each once, and nothing else.

    Raises:
        BundleRejectedError: It doesn't.
    """
    listed = sorted(file.name for file in manifest.files)
    if listed != sorted(LISTED_FILES):
        found = ", ".join(listed)[:MAX_SHOWN_CHARACTERS] or "no files"
        expected = " and ".join(LISTED_FILES)
        raise BundleRejectedError(
            "manifest", f"the manifest lists {found}; it must list {expected}; {_FIX}"
        )
