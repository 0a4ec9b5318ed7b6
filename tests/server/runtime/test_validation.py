"""Bundles are validated in a subprocess, which several threads share."""

import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.alterations import flip_byte
from support.tiny import write_tiny

from convscope.server.errors import BundleRejectedError
from convscope.server.runtime.validation import BundleValidator, validate_bundle


def test_subprocess_returns_the_same_graph_and_waits_for_the_next_bundle(tmp_path: Path) -> None:
    validator = BundleValidator()
    processes = set()
    for version in (1, 2):
        directory = write_tiny(tmp_path, version=version)
        assert validator.validate(directory).plain_graph == validate_bundle(directory).plain_graph
        processes.add(_process_id(validator))
    assert len(processes) == 1


def test_bad_bundle_is_rejected_and_the_next_is_checked(tmp_path: Path) -> None:
    validator = BundleValidator()
    bad = write_tiny(tmp_path, version=1)
    flip_byte(bad / "model.onnx", 50)
    with pytest.raises(BundleRejectedError, match="SHA-256"):
        validator.validate(bad)
    assert validator.validate(write_tiny(tmp_path, version=2)).plain_graph


def test_threads_take_turns(tmp_path: Path) -> None:
    validator = BundleValidator()
    directories = [write_tiny(tmp_path, f"tiny{number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(validator.validate, directories))
    assert [one.bundle.directory for one in found] == directories


def test_subprocess_that_was_killed_while_idle_is_replaced(tmp_path: Path) -> None:
    validator = BundleValidator()
    directory = write_tiny(tmp_path)
    validator.validate(directory)
    os.kill(_process_id(validator), signal.SIGKILL)
    os.waitid(os.P_PID, _process_id(validator), os.WEXITED | os.WNOWAIT)
    assert validator.validate(directory).plain_graph


def test_bundle_that_crashes_the_subprocess_is_rejected(tmp_path: Path) -> None:
    validator = BundleValidator()
    directory = write_tiny(tmp_path)
    validator.validate(directory)
    process = _process_id(validator)
    os.kill(process, signal.SIGSTOP)  # as if the bundle kept it busy

    def end_it() -> bool:
        os.kill(process, signal.SIGKILL)
        return False

    with pytest.raises(BundleRejectedError, match="ended with -9"):
        validator.validate(directory, end_it)
    assert validator.validate(directory).plain_graph


def test_subprocess_that_ended_after_its_idle_time_is_replaced(tmp_path: Path) -> None:
    validator = BundleValidator(idle_seconds=0.01)
    directory = write_tiny(tmp_path)
    validator.validate(directory)
    first = _process_id(validator)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert validator.validate(directory).plain_graph
    assert _process_id(validator) != first


def test_validation_is_aborted_when_the_server_stops(tmp_path: Path) -> None:
    validator = BundleValidator()
    directory = write_tiny(tmp_path)
    validator.validate(directory)
    stopped = _process_id(validator)
    os.kill(stopped, signal.SIGSTOP)
    try:
        with pytest.raises(BundleRejectedError, match="the server is stopping"):
            validator.validate(directory, lambda: True)
    finally:
        with pytest.raises(ProcessLookupError):
            os.kill(stopped, 0)


def test_server_with_many_connections_can_validate(tmp_path: Path) -> None:
    directory = write_tiny(tmp_path)
    wanted = 1100  # more than select() can take
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 100), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(wanted)]
    try:
        validator = BundleValidator()
        assert validator.validate(directory).plain_graph
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _process_id(validator: BundleValidator) -> int:
    process = validator._process
    assert process is not None
    return process.pid
