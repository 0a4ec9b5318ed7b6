"""Bundles are checked by a process of their own, which others may need at the same time."""

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


def test_process_finds_what_this_one_finds_and_stays_for_the_next(tmp_path: Path) -> None:
    validator = BundleValidator()
    processes = set()
    for version in (1, 2):
        directory = write_tiny(tmp_path, version=version)
        assert validator.inspect(directory).plain_graph == validate_bundle(directory).plain_graph
        processes.add(_process_id(validator))
    assert len(processes) == 1


def test_bad_bundle_is_refused_and_the_next_is_checked(tmp_path: Path) -> None:
    validator = BundleValidator()
    bad = write_tiny(tmp_path, version=1)
    flip_byte(bad / "model.onnx", 50)
    with pytest.raises(BundleRejectedError, match="SHA-256"):
        validator.inspect(bad)
    assert validator.inspect(write_tiny(tmp_path, version=2)).plain_graph


def test_threads_take_turns(tmp_path: Path) -> None:
    validator = BundleValidator()
    directories = [write_tiny(tmp_path, f"tiny{number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(validator.inspect, directories))
    assert [one.bundle.directory for one in found] == directories


def test_process_that_was_killed_while_it_waited_is_followed_by_another(tmp_path: Path) -> None:
    validator = BundleValidator()
    directory = write_tiny(tmp_path)
    validator.inspect(directory)
    os.kill(_process_id(validator), signal.SIGKILL)
    os.waitid(os.P_PID, _process_id(validator), os.WEXITED | os.WNOWAIT)
    assert validator.inspect(directory).plain_graph


def test_bundle_that_ends_its_process_is_refused(tmp_path: Path) -> None:
    validator = BundleValidator()
    directory = write_tiny(tmp_path)
    validator.inspect(directory)
    process = _process_id(validator)
    os.kill(process, signal.SIGSTOP)  # as if the bundle kept it busy

    def end_it() -> bool:
        os.kill(process, signal.SIGKILL)
        return False

    with pytest.raises(BundleRejectedError, match="ended with -9"):
        validator.inspect(directory, end_it)
    assert validator.inspect(directory).plain_graph


def test_process_that_waited_long_enough_is_followed_by_another(tmp_path: Path) -> None:
    validator = BundleValidator(idle_seconds=0.01)
    directory = write_tiny(tmp_path)
    validator.inspect(directory)
    first = _process_id(validator)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert validator.inspect(directory).plain_graph
    assert _process_id(validator) != first


def test_check_is_given_up_when_the_server_is_to_end(tmp_path: Path) -> None:
    validator = BundleValidator()
    directory = write_tiny(tmp_path)
    validator.inspect(directory)
    stopped = _process_id(validator)
    os.kill(stopped, signal.SIGSTOP)
    try:
        with pytest.raises(BundleRejectedError, match="the server is to end"):
            validator.inspect(directory, lambda: True)
    finally:
        with pytest.raises(ProcessLookupError):
            os.kill(stopped, 0)


def test_server_of_many_connections_can_still_check(tmp_path: Path) -> None:
    directory = write_tiny(tmp_path)
    wanted = 1100  # more than select() can take
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 100), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(wanted)]
    try:
        validator = BundleValidator()
        assert validator.inspect(directory).plain_graph
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _process_id(validator: BundleValidator) -> int:
    process = validator._process
    assert process is not None
    return process.pid
