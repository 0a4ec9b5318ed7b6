"""Mutated bundles: each is loaded, or rejected with a reason, and the process goes on."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.explained import write_explained
from support.fuzz.bundles import write_mutant
from support.fuzz.runs import SECONDS, inputs, reported
from support.fuzz.server import INTERNALS
from support.loading import make_loader
from support.tiny import write_signal, write_tiny

from convscope.server.errors import BundleRejectedError
from convscope.server.runtime.loading import Loader
from convscope.server.runtime.validation.client import BundleValidator
from convscope.server.runtime.validation.limits import Limits

COUNT = 200
LOADED = "loaded"
LIMITS = Limits(seconds=5.0, memory_bytes=500_000_000)
MAX_MESSAGE_CHARACTERS = 1000


@pytest.fixture
def loader() -> Iterator[Loader]:
    validator = BundleValidator()
    loader = make_loader(preload_feature_maps=True, preload_explanations=True)
    yield replace(loader, validator=validator, limits=LIMITS)
    validator.close()


@pytest.mark.slow(seconds=15)
@pytest.mark.timeout(300 + SECONDS)
def test_mutated_bundles(tmp_path: Path, loader: Loader) -> None:
    valid = [
        write_tiny(tmp_path / "plain"),
        write_explained(tmp_path / "explained"),
        write_signal(tmp_path / "signals"),
    ]
    ends = Counter[str]()
    for one in inputs(COUNT):
        source = one.random.choice(valid)
        mutant = tmp_path / "models" / source.parent.name / "1"
        write_mutant(source, mutant, one.random)
        with reported(one), capture_logs() as log:
            reason, message = end(loader, mutant)
            ends[reason] += 1
            assert not [line for line in log if line["log_level"] == "error"]
            assert bool(message) == (reason != LOADED)
            assert len(message) <= MAX_MESSAGE_CHARACTERS
            assert not INTERNALS.search(message)
    print(f"bundles: {ends}")
    assert ends[LOADED] > 0
    assert ends.total() > ends[LOADED]
    assert SECONDS or {"files", "manifest", "hash", "graph", "golden"} <= set(ends)


def end(loader: Loader, directory: Path) -> tuple[str, str]:
    """Return why a bundle is rejected: the reason and the message, or LOADED and nothing."""
    try:
        loader.load(directory, hot=True)
    except BundleRejectedError as error:
        return error.reason, error.message
    return LOADED, ""
