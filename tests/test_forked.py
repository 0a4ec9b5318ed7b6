"""The servers that tests fork are processes like those of a fresh interpreter."""

import re
import signal
import subprocess
from pathlib import Path

import pytest
from support.calls import LOOPBACK, connected, image_request, run_to_end
from support.server import FRESH, ServerProcess

pytestmark = pytest.mark.one_transport("compares two ways to start a process")


def open_files(server: ServerProcess) -> list[str]:
    """What kinds of files the process has open."""
    links = Path(f"/proc/{server.process.pid}/fd").iterdir()
    return sorted(re.sub(r"\[\d+\]", "", str(link.readlink())) for link in links)


def signals(server: ServerProcess) -> list[str]:
    """Which signals the process blocks, ignores and handles."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]


def test_files_signals_and_directory_are_those_of_a_fresh_process(
    tiny_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        ServerProcess(tiny_repository) as other,
        ServerProcess(tiny_repository) as forked,
        ServerProcess(tiny_repository, command=FRESH) as fresh,
    ):
        assert open_files(forked) == open_files(fresh)
        assert signals(forked) == signals(fresh)
        assert Path(f"/proc/{forked.process.pid}/cwd").resolve() == tmp_path
        assert other.process.pid != forked.process.pid
        assert other.stop() == 0
        with connected(forked) as stub:
            assert stub.Classify(image_request(), timeout=30).model == "tiny"


def test_environment_is_that_of_the_test(
    tiny_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSCOPE_MAX_INPUTS", "none")
    code, out, err = run_to_end("--models", tiny_repository, *LOOPBACK)
    assert (code, out) == (64, "")
    assert "--max-inputs: 'none'" in err


def test_exit_codes_and_signals_are_those_of_the_process(tiny_repository: Path) -> None:
    assert run_to_end("--version")[0] == 0
    assert run_to_end("--models", "nowhere")[0] == 1
    with ServerProcess(tiny_repository) as server:
        assert server.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.01)
        server.process.kill()
        assert server.process.wait(30) == -signal.SIGKILL
        assert server.process.poll() == -signal.SIGKILL
