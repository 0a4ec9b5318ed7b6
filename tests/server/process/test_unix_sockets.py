"""Unix sockets that can't be made are reported before anything is loaded."""

import errno
import os
import re
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.calls import LOOPBACK, run_to_end

from convscope.server.errors import StartError
from convscope.server.process import unix_sockets
from convscope.server.process.unix_sockets import check_unix_sockets, private_directory

LONG = "x" * 120


@pytest.fixture
def long_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for temporary files whose path is too long for a socket."""
    folder = tmp_path / LONG
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def problem(address: str, workers: int = 1) -> str:
    with pytest.raises(StartError) as caught:
        check_unix_sockets(address, workers)
    return str(caught.value)


def test_the_sockets_of_workers_are_in_a_short_path_of_this_user(long_folder: Path) -> None:
    directory = private_directory()
    try:
        assert directory.stat().st_mode & 0o777 == 0o700
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(directory / "1234567"))
    finally:
        (directory / "1234567").unlink()
        directory.rmdir()
    assert list(long_folder.iterdir()) == []
    check_unix_sockets("127.0.0.1:8003", workers=2)
    check_unix_sockets(None, workers=2)


def test_without_a_short_path_the_error_names_the_variable_to_set(
    long_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_sockets, "SHORT_PARENT", "/nowhere")
    message = problem("127.0.0.1:8003", workers=2)
    limit = re.escape(f"{long_folder} has {len(os.fsencode(long_folder))} bytes")
    assert re.search(
        f"{limit}; /nowhere: No such file or directory. Set TMPDIR to a directory that this user "
        r"can write to and whose path has at most \d+ bytes",
        message,
    )
    assert list(long_folder.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(long_folder / "missing"))
    assert "No such file or directory; /nowhere:" in problem("127.0.0.1:8003", workers=2)
    check_unix_sockets("127.0.0.1:8003", workers=1)  # which needs no other sockets


def test_an_operators_socket_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    assert "can't be used: it has no path" in problem("unix:")
    assert "bytes, and that of a Unix socket has at most" in problem(f"unix:{tmp_path / LONG}")
    assert f"{tmp_path / 'no'} is not a directory" in problem(f"unix:{tmp_path / 'no' / 'admin'}")
    path = tmp_path / "admin"
    path.write_text("")
    assert "there is a file that is not a socket" in problem(f"unix:{path}")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert f"--admin-address unix://{path} can't be used: it is in use" in problem(
            f"unix://{path}"
        )
    check_unix_sockets(f"unix:{path}", workers=1)  # its server has ended


@pytest.mark.timeout(30)
def test_a_socket_whose_owner_hangs_is_in_use(tmp_path: Path) -> None:
    path = str(tmp_path / "admin")
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as waiting:
        listener.bind(path)
        listener.listen(0)
        error = 0
        while error == 0:  # until its queue is full
            one = waiting.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            error = one.connect_ex(path)
        assert error == errno.EAGAIN
        assert "it is in use" in problem(f"unix:{path}")


def test_a_server_reports_it_before_it_loads(tiny_repository: Path, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / LONG}"
    flags = ("--models", tiny_repository, "--admin-address", address, *LOOPBACK)
    code, _, err = run_to_end(*flags)
    assert (code, len(err.splitlines())) == (1, 1)
    assert err.startswith(f"error: --admin-address {address} can't be used: its path has ")
