"""The memory of large messages returns to the system, without anyone who closes it."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, time
from pathlib import Path

from convscope.server.frontend.transport.http2.mapped_memory import MappedMemory

MESSAGE = bytes(64 * 2**20)

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def check() -> None:
    before = resident()
    view = memoryview(MappedMemory(-1, len(MESSAGE)))
    view[:] = MESSAGE
    part = view[9:]
    del view
    time.sleep(0.1)
    assert resident() - before > len(MESSAGE) / 2, "a part of it is still in use"
    del part
    end = time.monotonic() + 20
    while resident() - before > len(MESSAGE) / 2:
        assert time.monotonic() < end, "it is kept"
        time.sleep(0.01)

check()
child = os.fork()
check()  # in both processes
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_returns_when_nothing_refers_to_it_also_after_a_fork() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
