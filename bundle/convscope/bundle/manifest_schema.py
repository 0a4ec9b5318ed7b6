"""The versions of the manifest's schema, and which of them this release reads."""

import json

from convscope.bundle.errors import BundleRejectedError

__all__ = [
    "EXPLAINED_SCHEMA_VERSION",
    "QUANTIZED_SCHEMA_VERSION",
    "SCHEMA_VERSION",
    "check_schema",
    "stated_schema",
]

SCHEMA_VERSION = 1
# Earlier releases run a graph without its input "classes" and can't use it.
EXPLAINED_SCHEMA_VERSION = 2
# Earlier releases don't know what was quantized, or by which data.
QUANTIZED_SCHEMA_VERSION = 3
_SCHEMA_VERSIONS = (SCHEMA_VERSION, EXPLAINED_SCHEMA_VERSION, QUANTIZED_SCHEMA_VERSION)


def check_schema(version: int) -> None:
    """Check that this release reads a schema version.

    Raises:
        BundleRejectedError: It doesn't.
    """
    if version not in _SCHEMA_VERSIONS:
        *others, last = map(str, _SCHEMA_VERSIONS)
        raise BundleRejectedError(
            "manifest",
            f"the manifest has schema version {version}; this release reads "
            f"{', '.join(others)} and {last}, so export the bundle again or install the release "
            "that made it",
        )


def stated_schema(data: bytes) -> int:
    """Return the schema version of a manifest that doesn't parse: a later one has more fields."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return SCHEMA_VERSION
    version = found.get("schema_version") if isinstance(found, dict) else None
    return version if isinstance(version, int) else SCHEMA_VERSION
