"""The memory of large messages returns to the system, without anyone who closes it."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys, time
from pathlib import Path

from convscope.server.frontend.transport.http2.mapped_memory import MappedMemory

MESSAGE = bytes(64 * 2**20)

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def check() -> None:
    before = resident()
    view = memoryview(MappedMemory(len(MESSAGE)))
    view[:] = MESSAGE
    part = view[9:]
    del view
    time.sleep(0.1)
    assert resident() - before > len(MESSAGE) / 2, "a part of it is still in use"
    del part
    wait_until_freed(before)

def wait_until_freed(before: int) -> None:
    end = time.monotonic() + 20
    while resident() - before > len(MESSAGE) / 2:
        assert time.monotonic() < end, "it is kept"
        time.sleep(0.01)

check()
before = resident()
held = memoryview(MappedMemory(len(MESSAGE)))
held[:] = MESSAGE
child = os.fork()
del held
wait_until_freed(before)  # in both processes
check()
if not child:
    sys.exit()
assert os.waitpid(child, 0)[1] == 0

class Cycle:
    pass

cycle = Cycle()
cycle.memory, cycle.itself = MappedMemory(len(MESSAGE)), cycle  # and the process must end
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_returns_when_nothing_refers_to_it_also_after_a_fork() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
