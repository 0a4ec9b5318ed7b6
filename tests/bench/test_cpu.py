"""The bench knows how much CPU time its own processes use, and how much others use."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.cpu import Watch, tree_seconds
from bench.empty_server import CALL, empty_server
from bench.loads import closed_loop, grpc_request
from bench.reference import cores

WORK = 0.4
# Ticks of 10 ms and the start of the interpreter.
TOLERANCE = 0.1
SPIN = f"import time\nwhile time.process_time() < {WORK}: pass\n"
# The program ends when its stdin is closed.
WAIT = "print('done', flush=True)\ninput()\n"
NESTED = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SPIN!r}])\n"
# The parent of the worker ends at once.
ORPHAN = (
    "import os, sys\n"
    "if os.fork():\n"
    "    os._exit(0)\n"
    "os.setsid()\n" + SPIN + "open(sys.argv[1], 'w').close()\n"
)


@contextmanager
def program(code: str) -> Iterator[int]:
    """Run a program until it has printed a line, and end it after the with block."""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"done\n"
        yield process.pid
        process.kill()


def test_a_process_has_used_its_own_time() -> None:
    with program(SPIN + WAIT) as pid:
        assert WORK - TOLERANCE < tree_seconds(pid) < 2 * WORK


def test_the_time_of_a_child_that_ended_stays_with_its_parent() -> None:
    with program(NESTED + WAIT) as pid:
        assert tree_seconds(pid) > WORK - TOLERANCE


def test_the_bench_keeps_the_time_of_a_load_generator_that_ended() -> None:
    before = tree_seconds(os.getpid())
    with program(NESTED + WAIT):
        pass
    assert tree_seconds(os.getpid()) - before > WORK - TOLERANCE


def test_a_program_of_others_is_counted_as_such(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    watch = Watch()
    subprocess.run([sys.executable, "-c", ORPHAN, str(ended)], check=True)
    wait_for_file(ended)
    usage = watch.read()
    assert usage.others * usage.seconds * cores() > WORK / 2


def test_an_adopted_orphan_belongs_to_the_bench(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    code = (
        "import os, pathlib, subprocess, sys, time\n"
        "from bench.cpu import adopt_orphans, tree_seconds\n"
        "adopt_orphans()\n"
        f"subprocess.run([sys.executable, '-c', {ORPHAN!r}, sys.argv[1]], check=True)\n"
        "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)\n"
        "print(tree_seconds(os.getpid()))\n"
    )
    command = [sys.executable, "-c", code, str(ended)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert float(done.stdout) > WORK - TOLERANCE


@pytest.mark.skipif(shutil.which("h2load") is None, reason="needs h2load")
def test_a_closed_loop_reports_the_cpu_time_of_the_server_per_call(tmp_path: Path) -> None:
    with empty_server() as (process, target):
        before = tree_seconds(process.pid)
        loop = closed_loop(
            grpc_request(target, CALL, b""),
            tmp_path,
            server=[process.pid],
            in_flight=8,
            seconds=1.0,
            warm_up=0.2,
        )
        used = tree_seconds(process.pid) - before
    sample = loop.rate()
    assert sample.value > 0
    assert sample.cpu_us
    assert sample.generator_cores
    assert 0 < loop.usage.cpu_seconds["server"] <= used
    # All calls of the loop together, of which a part was before the window.
    assert sample.cpu_us * loop.answered.succeeded / 1e6 == pytest.approx(used, rel=0.6)


def wait_for_file(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
