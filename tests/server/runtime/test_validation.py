"""Versions are validated in processes of their own, which a fork server starts and ends."""

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from support.alterations import flip_byte
from support.calls import wait_until
from support.hostile import write_endless_loop, write_large_batch, write_large_constant
from support.loading import LIMITS
from support.processes import descendants, is_running
from support.tiny import write_tiny

from convscope.server.errors import BundleRejectedError, ShuttingDownError
from convscope.server.inference.decoding.preprocessor import Preprocessor
from convscope.server.runtime.providers import ProviderPolicy
from convscope.server.runtime.tuning import Measurements
from convscope.server.runtime.validated import read_validated
from convscope.server.runtime.validation.client import BundleValidator
from convscope.server.runtime.validation.examination import Examination
from convscope.server.runtime.validation.limits import Limits, machine_bytes

MEGABYTE = 10**6


@pytest.fixture(scope="module")
def validator() -> Iterator[BundleValidator]:
    one = BundleValidator()
    yield one
    one.close()


def examine(directory: Path, *, seconds: float = 60.0, memory: int | None = None) -> Examination:
    return Examination(
        directory,
        ProviderPolicy(("cpu",), allow_fallback=False),
        partial(Preprocessor, limits=LIMITS),
        Measurements(1, None),
        max_batch=8,
        unmeasured_batch=None,
        limits=Limits(seconds, memory),
    )


def test_figures_show_what_a_version_takes(tmp_path: Path, validator: BundleValidator) -> None:
    small = validator.validate(examine(write_tiny(tmp_path, "small"))).figures
    large = validator.validate(examine(write_large_batch(tmp_path, "large", mib=5))).figures
    assert (small.batch, large.batch) == (8, 8)
    assert small.batch_bytes < 10 * MEGABYTE
    assert 40 * MEGABYTE < large.batch_bytes < 300 * MEGABYTE
    assert large.peak_bytes >= large.session_bytes + large.batch_bytes


def test_limit_holds_for_a_full_batch(tmp_path: Path, validator: BundleValidator) -> None:
    directory = write_large_batch(tmp_path, mib=10)  # of one input
    with pytest.raises(BundleRejectedError, match=r"takes [0-9]+ MB of memory") as rejected:
        validator.validate(examine(directory, memory=60 * MEGABYTE))
    assert rejected.value.reason == "memory"


def test_default_limit_follows_the_graph_and_the_machine(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("500000000\n")
    assert machine_bytes(tmp_path) == 500 * MEGABYTE
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_bytes(tmp_path) > 500 * MEGABYTE
    assert Limits().memory_for(0) <= 2**30
    assert Limits(memory_bytes=7).memory_for(2**30) == 7


def test_large_constant_is_rejected_by_the_default_limit(
    tmp_path: Path, validator: BundleValidator
) -> None:
    with pytest.raises(BundleRejectedError, match=r"takes 3,[0-9]{3} MB of memory") as rejected:
        validator.validate(examine(write_large_constant(tmp_path)))
    assert rejected.value.reason == "memory"


def test_rejected_version_leaves_the_fork_server_running(
    tmp_path: Path, validator: BundleValidator
) -> None:
    validator.validate(examine(write_tiny(tmp_path, version=1)))
    first = _process_id(validator)
    bad = write_tiny(tmp_path, version=2)
    flip_byte(bad / "model.onnx", 50)
    with pytest.raises(BundleRejectedError, match="SHA-256"):
        validator.validate(examine(bad))
    with pytest.raises(BundleRejectedError, match="was not finished") as rejected:
        validator.validate(examine(write_endless_loop(tmp_path, version=3), seconds=0.2))
    assert rejected.value.reason == "time"
    with pytest.raises(BundleRejectedError, match=r"after 0(\.0[0-9]+)? s of CPU and 0\.0[0-9]+ s"):
        validator.validate(examine(write_tiny(tmp_path, version=5), seconds=0.001))
    validator.validate(examine(write_tiny(tmp_path, version=4)))
    assert _process_id(validator) == first
    assert descendants(first) == set()


def test_threads_take_turns(tmp_path: Path, validator: BundleValidator) -> None:
    examinations = [examine(write_tiny(tmp_path, f"tiny{number}")) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(validator.validate, examinations))) == 4


def test_bytes_that_changed_after_the_validation_are_not_loaded(
    tmp_path: Path, validator: BundleValidator
) -> None:
    directory = write_tiny(tmp_path)
    found = validator.validate(examine(directory)).manifest_sha256
    assert read_validated(directory, found).plain_graph
    graph = (directory / "model.onnx").read_bytes()
    flip_byte(directory / "model.onnx", 50)
    with pytest.raises(BundleRejectedError, match="SHA-256"):
        read_validated(directory, found)
    (directory / "model.onnx").write_bytes(graph)
    manifest = (directory / "manifest.json").read_bytes()
    (directory / "manifest.json").write_bytes(manifest.replace(b"green", b"black"))
    with pytest.raises(BundleRejectedError, match="the manifest changed"):
        read_validated(directory, found)


def test_fork_server_that_was_killed_is_replaced(tmp_path: Path) -> None:
    validator = BundleValidator()
    examination = examine(write_tiny(tmp_path))
    validator.validate(examination)
    os.kill(_process_id(validator), signal.SIGKILL)
    validator.validate(examination)
    validator.close()


def test_version_whose_process_is_killed_is_no_bad_version(tmp_path: Path) -> None:
    validator = BundleValidator()
    validator.validate(examine(write_tiny(tmp_path)))
    fork_server = _process_id(validator)

    def kill_it() -> bool:
        for pid in descendants(fork_server):
            os.kill(pid, signal.SIGKILL)  # as the system does when memory is short
        return False

    with pytest.raises(MemoryError):
        validator.validate(examine(write_endless_loop(tmp_path, version=2)), kill_it)
    validator.close()


def test_idle_fork_server_ends_and_is_replaced(tmp_path: Path) -> None:
    validator = BundleValidator(idle_seconds=0.01)
    examination = examine(write_tiny(tmp_path))
    validator.validate(examination)
    wait_until(lambda: validator._running is None)
    validator.validate(examination)


def test_validation_is_cancelled_when_the_server_stops(tmp_path: Path) -> None:
    validator = BundleValidator()
    validator.validate(examine(write_tiny(tmp_path)))
    fork_server = _process_id(validator)
    began = time.monotonic()
    examiners: set[int] = set()

    def is_stopping() -> bool:
        examiners.update(descendants(fork_server))
        return bool(examiners)

    with pytest.raises(ShuttingDownError):
        validator.validate(examine(write_endless_loop(tmp_path, version=2)), is_stopping)
    assert time.monotonic() - began < 20
    wait_until(lambda: not any(map(is_running, {fork_server, *examiners})))


def test_signals_of_a_service_manager_end_no_validation(tmp_path: Path) -> None:
    """The server gets them too, and decides."""
    validator = BundleValidator()
    examination = examine(write_tiny(tmp_path))
    validator.validate(examination)
    fork_server = _process_id(validator)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(fork_server, number)
        validator.validate(examination)
    assert _process_id(validator) == fork_server
    validator.close()


def test_many_versions_in_a_row_take_one_thread(tmp_path: Path, validator: BundleValidator) -> None:
    examination = examine(write_tiny(tmp_path))
    validator.validate(examination)
    before = threading.active_count()
    for _ in range(5):
        validator.validate(examination)
    wait_until(lambda: threading.active_count() <= before)


def test_version_that_waits_when_the_server_stops_starts_no_process(tmp_path: Path) -> None:
    validator = BundleValidator()
    with pytest.raises(ShuttingDownError):
        validator.validate(examine(write_tiny(tmp_path)), lambda: True)
    assert validator._uses == 0


def test_server_with_many_connections_can_validate(
    tmp_path: Path, validator: BundleValidator
) -> None:
    wanted = 1100  # more than select() can take
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 100), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(wanted)]
    try:
        validator.close()
        assert validator.validate(examine(write_tiny(tmp_path)))
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _process_id(validator: BundleValidator) -> int:
    assert validator._running is not None
    return validator._running.process.pid
