"""Remembers which versions passed the examination, so that the next start need not repeat it.

The file is located beside the tuning cache. Each entry has a key made of everything that
the outcome depends on. The serving process still checks each file's hash, and replays the
golden inputs.
"""

import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnxruntime as ort
import structlog

from convscope.bundle.durable import replace_file
from convscope.bundle.layout import MANIFEST, MAX_MANIFEST_BYTES
from convscope.bundle.manifest import parse_manifest
from convscope.bundle.plain_files import NotPlainError, read_plain
from convscope.server.runtime.figures import Figures
from convscope.server.runtime.tuning import Measurements, processor
from convscope.server.runtime.validation.examination import Examination, Findings
from convscope.server.runtime.validation.limits import machine_bytes
from convscope.server.runtime.validation.serialization import to_json
from convscope.v1 import manifest_pb2 as pb

__all__ = ["ValidationCache"]

log = structlog.get_logger(__name__)

# It changes with what is checked, so that versions are examined again. Releases differ anyway.
CHECKS = "1"
# An entry has about 300 bytes.
MAX_ENTRIES = 1000
_FIGURES = {field.name for field in fields(Figures)}

_Entries = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ValidationCache:
    """What was found about the versions that passed.

    Safe for several processes: one that writes at the same time as another may lose an entry,
    and that version is examined again.

    Args:
        file: The file that stores it; None stores none.
    """

    file: Path | None

    def find(self, examination: Examination) -> Findings | None:
        """Return what was found about the version of a directory; None to examine it.

        Nothing of the version is parsed before its manifest's hash is known.
        """
        if self.file is None or examination.trusted is not None:  # a key may be revoked
            return None
        try:
            data = read_plain(examination.directory / MANIFEST, MAX_MANIFEST_BYTES)
        except (OSError, NotPlainError):
            return None  # the examination reports what is wrong
        sha256 = hashlib.sha256(data).hexdigest()
        entry = self._read().get(_key(examination, sha256))
        if entry is None:
            return None
        wanted = examination.wanted_batch(parse_manifest(data))
        figures = Figures(**entry["figures"])
        if wanted is None:
            enough = entry["wanted_batch"] is None  # what is to be measured sets the batch
        else:
            enough = figures.batch >= wanted
            share = figures.batch_bytes * wanted // max(1, figures.batch)
            figures = replace(figures, batch=wanted, batch_bytes=share)
        return Findings(sha256, figures, remembered=True) if enough else None

    def store(
        self, examination: Examination, manifest: pb.ModelManifest, findings: Findings
    ) -> None:
        """Store what was found about a version that passed.

        A version without explanations for its provider is not stored, because the reason may
        be temporary.
        """
        if self.file is None or examination.trusted is not None or findings.unexplained is not None:
            return
        key = _key(examination, findings.manifest_sha256)
        entry = {
            "wanted_batch": examination.wanted_batch(manifest),
            "figures": asdict(findings.figures),
        }
        entries = {k: value for k, value in self._read().items() if k != key} | {key: entry}
        newest = dict(list(entries.items())[-MAX_ENTRIES:])
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.file, json.dumps(newest).encode(), mode=0o644)
        except OSError as error:
            log.warning("the validation can't be stored", reason=error.strerror)

    def _read(self) -> _Entries:
        """Return the valid entries, the oldest first."""
        if self.file is None:
            return {}
        try:
            # Nobody may put a link to another file, or a pipe, in its place.
            descriptor = os.open(self.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - of an open file
                if not _is_trusted(os.fstat(descriptor)):
                    return {}
                found = json.load(file)
            return {key: entry for key, entry in found.items() if _is_entry(entry)}
        except (OSError, ValueError, AttributeError, RecursionError):
            return {}  # then the versions are examined again


def _is_trusted(status: os.stat_result) -> bool:
    """Report whether no other user could have written a file, such as one in /tmp."""
    is_own = status.st_uid in (0, os.geteuid())
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(status.st_mode) and is_own and not others_write


def _is_entry(entry: Any) -> bool:
    """Report whether an entry is one that this release has written."""
    if not isinstance(entry, dict) or entry.keys() != {"wanted_batch", "figures"}:
        return False
    wanted, figures = entry["wanted_batch"], entry["figures"]
    return (
        (wanted is None or type(wanted) is int)
        and isinstance(figures, dict)
        and figures.keys() == _FIGURES
        and all(type(value) in (int, float) for value in figures.values())
    )


def _key(examination: Examination, manifest_sha256: str) -> str:
    """Return a hash of everything that the outcome depends on, except for the full batch."""
    same = replace(
        examination,
        directory=Path(),
        measurements=Measurements(examination.measurements.cores, None),
        max_batch=None,
        unmeasured_batch=None,
        hot=False,
    )
    releases = (CHECKS, _release(), ort.__version__, str(ort.get_available_providers()))
    parts = (*releases, processor(), str(machine_bytes()), manifest_sha256)
    return hashlib.sha256("\n".join(parts).encode() + to_json(same)).hexdigest()


@cache
def _release() -> str:
    """Return the version of this package."""
    try:
        return version("convscope")
    except PackageNotFoundError:
        return ""
