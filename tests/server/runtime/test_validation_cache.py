"""A version that passed the validation is not examined again at the next start."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from structlog.testing import capture_logs
from support.alterations import flip_byte
from support.calls import wait_until
from support.hostile import write_large_batch
from support.loading import LIMITS, VALIDATOR
from support.server import ServerProcess
from support.signing import make_keys, sign
from support.tiny import write_tiny

from convscope.bundle.signatures import TrustedSigners
from convscope.server.errors import BundleRejectedError
from convscope.server.frontend.classifier.rehearsal import rehearse
from convscope.server.inference.decoding.preprocessor import Preprocessor
from convscope.server.runtime.execution import ExecutionOverrides
from convscope.server.runtime.loading import Loader
from convscope.server.runtime.providers import ProviderPolicies, ProviderPolicy
from convscope.server.runtime.settings import RuntimeSettings
from convscope.server.runtime.tuning import Tuner
from convscope.server.runtime.validation import cache as validation_cache
from convscope.server.runtime.validation.cache import ValidationCache
from convscope.server.runtime.validation.limits import Limits

pytestmark = pytest.mark.one_transport("validates bundles")

# On a busy machine, the batch that is measured can be larger than the one that was examined.
BATCH = ("--max-batch", "8")
DAMAGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "list": lambda _: [1],
    "text": lambda entries: dict.fromkeys(entries, "passed"),
    "empty": lambda entries: {key: {} for key in entries},
    "figures": lambda entries: {k: {**v, "figures": {"batch": 8}} for k, v in entries.items()},
    "types": lambda entries: {
        k: {**v, "figures": dict.fromkeys(v["figures"], "9")} for k, v in entries.items()
    },
}


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(
        ProviderPolicies(ProviderPolicy(("cpu",), allow_fallback=False)),
        partial(Preprocessor, limits=LIMITS),
        with_batch(8),
        validator=VALIDATOR,
        validated=ValidationCache(tmp_path / "cache" / "validated.json"),
    )


def with_batch(size: int) -> Tuner:
    return Tuner(ExecutionOverrides(cores=1, max_batch=size, measure=False), rehearse, None)


def validation(loader: Loader, directory: Path) -> str:
    """Load a version, and return whether it was examined or remembered."""
    return str(load(loader, directory)["validation"])


def load(loader: Loader, directory: Path) -> dict[str, Any]:
    with capture_logs() as logs:
        loader.load(directory)
    return next(dict(line) for line in logs if line["event"] == "model ready")


def cache_file(loader: Loader) -> Path:
    assert loader.validated.file is not None
    return loader.validated.file


def ready(server: ServerProcess) -> list[str]:
    return [line["validation"] for line in server.log if line["event"] == "model ready"]


def test_second_start_remembers_the_first(tmp_path: Path) -> None:
    write_tiny(tmp_path / "models")
    flags = (*BATCH, "--tuning-cache", str(tmp_path / "tuning.json"))
    found = []
    for _ in range(2):
        with ServerProcess(tmp_path / "models", *flags, tuning=True) as server:
            found += ready(server)
    assert found == ["examined", "remembered"]
    with ServerProcess(tmp_path / "models", "--no-tuning", *flags) as server:
        assert ready(server) == ["examined"]


def test_workers_examine_a_version_once(tmp_path: Path) -> None:
    write_tiny(tmp_path / "models")
    flags = (*BATCH, "--workers", "3", "--tuning-cache", str(tmp_path / "tuning.json"))
    with ServerProcess(tmp_path / "models", *flags, tuning=True) as server:
        wait_until(lambda: len(ready(server)) == 3)
        assert ready(server) == ["examined", "remembered", "remembered"]


def test_other_versions_are_examined(tmp_path: Path, loader: Loader) -> None:
    first = write_tiny(tmp_path, version=1)
    assert [validation(loader, first) for _ in range(2)] == ["examined", "remembered"]
    assert validation(loader, write_tiny(tmp_path, version=2)) == "examined"
    shutil.rmtree(first)
    assert validation(loader, write_tiny(tmp_path, activation="Sigmoid")) == "examined"


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_altered_file_of_a_remembered_version_is_rejected(
    tmp_path: Path, loader: Loader, name: str
) -> None:
    directory = write_tiny(tmp_path)
    validation(loader, directory)
    flip_byte(directory / name, 50)
    with pytest.raises(BundleRejectedError, match="SHA-256"):
        loader.load(directory)


def test_missing_or_blocking_manifest_is_rejected_as_before(tmp_path: Path, loader: Loader) -> None:
    manifest = write_tiny(tmp_path) / "manifest.json"
    validation(loader, manifest.parent)
    manifest.unlink()
    with pytest.raises(BundleRejectedError, match=r"manifest\.json is missing"):
        loader.load(manifest.parent)
    os.mkfifo(manifest)
    with pytest.raises(BundleRejectedError, match="not a plain file"):
        loader.load(manifest.parent)


def test_rejection_is_not_remembered(tmp_path: Path, loader: Loader) -> None:
    directory = write_large_batch(tmp_path, mib=10)
    small = replace(loader, limits=Limits(memory_bytes=60_000_000))
    for _ in range(2):
        with pytest.raises(BundleRejectedError, match="of memory"):
            small.load(directory)
    assert not cache_file(loader).exists()
    assert validation(loader, directory) == "examined"
    with pytest.raises(BundleRejectedError, match="of memory"):  # the limits are another key
        small.load(directory)


def test_other_settings_and_releases_examine_again(
    tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_tiny(tmp_path)
    validation(loader, directory)
    limits = replace(LIMITS, max_pixels=1_000_000)
    for other in (
        replace(loader, limits=Limits(seconds=30)),
        replace(loader, preload_feature_maps=True),
        replace(loader, make_preprocessor=partial(Preprocessor, limits=limits)),
        replace(loader, policies=ProviderPolicies(ProviderPolicy(("cpu",), True))),
    ):
        assert [validation(other, directory) for _ in range(2)] == ["examined", "remembered"]
    assert validation(loader, directory) == "remembered"
    monkeypatch.setattr(ort, "__version__", "9.9")
    assert validation(loader, directory) == "examined"


def test_larger_batch_is_examined_and_a_smaller_one_is_not(tmp_path: Path, loader: Loader) -> None:
    directory = write_large_batch(tmp_path, mib=2)
    eight, four, sixteen = (
        load(replace(loader, tuner=with_batch(size)), directory) for size in (8, 4, 16)
    )
    found = [line["validation"] for line in (eight, four, sixteen)]
    assert found == ["examined", "remembered", "examined"]
    assert four["batch_mb"] == pytest.approx(eight["batch_mb"] / 2, abs=0.1)


def test_signed_version_is_examined_at_each_load(tmp_path: Path, loader: Loader) -> None:
    keys = make_keys(tmp_path / "keys")
    directory = sign(write_tiny(tmp_path / "models"), keys)
    validation(loader, directory)
    strict = replace(loader, trusted=TrustedSigners(keys=keys.public))
    assert [validation(strict, directory) for _ in range(2)] == ["examined", "examined"]


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damaged_entries_are_ignored_and_replaced(
    tmp_path: Path, loader: Loader, damage: Callable[[dict[str, Any]], object]
) -> None:
    directory = write_tiny(tmp_path)
    validation(loader, directory)
    file = cache_file(loader)
    file.write_text(json.dumps(damage(json.loads(file.read_bytes()))))
    assert [validation(loader, directory) for _ in range(2)] == ["examined", "remembered"]


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[" * 100_000], ids=["empty", "0", "deep"])
def test_damaged_file_is_ignored_and_replaced(
    tmp_path: Path, loader: Loader, content: bytes
) -> None:
    directory = write_tiny(tmp_path)
    cache_file(loader).parent.mkdir()
    cache_file(loader).write_bytes(content)
    assert [validation(loader, directory) for _ in range(2)] == ["examined", "remembered"]


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_file_that_other_users_can_write_is_ignored(
    tmp_path: Path, loader: Loader, mode: int
) -> None:
    directory = write_tiny(tmp_path)
    validation(loader, directory)
    cache_file(loader).chmod(mode)
    assert [validation(loader, directory) for _ in range(2)] == ["examined", "remembered"]


def test_file_is_trusted_whatever_the_umask_is(tmp_path: Path, loader: Loader) -> None:
    directory = write_tiny(tmp_path)
    before = os.umask(0)
    try:
        validation(loader, directory)
    finally:
        os.umask(before)
    assert validation(loader, directory) == "remembered"


def test_link_and_pipe_in_its_place_are_ignored(tmp_path: Path, loader: Loader) -> None:
    directory = write_tiny(tmp_path)
    validation(loader, directory)
    file, elsewhere = cache_file(loader), tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert [validation(loader, directory) for _ in range(2)] == ["examined", "remembered"]
    file.unlink()
    os.mkfifo(file)
    assert [validation(loader, directory) for _ in range(2)] == ["examined", "remembered"]


def test_oldest_entries_are_dropped(
    tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation_cache, "MAX_ENTRIES", 2)
    first, *others = (write_tiny(tmp_path, version=number) for number in (1, 2, 3))
    assert [validation(loader, one) for one in (first, *others)] == ["examined"] * 3
    assert [validation(loader, one) for one in others] == ["remembered"] * 2
    assert validation(loader, first) == "examined"
    assert len(json.loads(cache_file(loader).read_bytes())) == 2


def test_cache_that_cannot_be_written_examines_each_time(tmp_path: Path, loader: Loader) -> None:
    directory = write_tiny(tmp_path)
    (tmp_path / "file").write_text("no folder")
    blocked = replace(loader, validated=ValidationCache(tmp_path / "file" / "validated.json"))
    for _ in range(2):
        with capture_logs() as logs:
            blocked.load(directory)
        assert [line["event"] for line in logs] == [
            "the validation can't be stored",
            "model ready",
        ]


def test_cache_is_beside_the_measurements(tmp_path: Path) -> None:
    file = tmp_path / "tuning.json"
    assert RuntimeSettings(tuning_cache=file).validation_cache == tmp_path / "validated.json"
    assert RuntimeSettings(tuning_cache=file, no_tuning=True).validation_cache is None
