"""Mutated texts of each kind: each is read, or rejected with a message and nothing else."""

from pathlib import Path

import pytest
from support.fuzz.documents import Document, documents
from support.fuzz.runs import SECONDS, inputs, reported
from support.fuzz.values import damage_bytes, damage_text
from support.tiny import write_tiny

COUNT = 2500


@pytest.mark.timeout(300 + SECONDS)
def test_mutated_texts(tmp_path: Path) -> None:
    manifest = (write_tiny(tmp_path) / "manifest.json").read_text()
    kinds = documents(manifest)
    read = dict.fromkeys(kinds, 0)
    rejected = dict.fromkeys(kinds, 0)
    for one in inputs(COUNT):
        name = one.random.choice(list(kinds))
        kind = kinds[name]
        text = damage_text(one.random.choice(kind.valid), one.random, kind.words)
        data = text.encode()
        if one.random.random() < 0.2:
            data = damage_bytes(data, one.random)
        path = tmp_path / f"file{one.random.choice(kind.suffixes)}"
        path.write_bytes(data)
        with reported(one):
            message = message_of(kind, path)
            if message is None:
                read[name] += 1
            else:
                rejected[name] += 1
                assert 0 < len(message) <= kind.max_message
    print(f"texts: {read} read, {rejected} rejected")
    assert min(read.values()) > 0
    assert min(rejected.values()) > 0


def message_of(kind: Document, path: Path) -> str | None:
    """Return the message with which a file is rejected; None if it is read."""
    try:
        kind.read(path)
    except kind.errors as error:
        return str(error)
    return None
