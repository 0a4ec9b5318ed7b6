"""Freed memory is used again, and garbage is collected when few calls are open."""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from support.calls import connected, image_request
from support.server import FRESH, ServerProcess

# Counts the page faults of a few requests whose buffers together exceed the C library's default.
FAULTS = """
import resource, sys
import numpy as np
from convscope.server.process.memory import keep_freed_memory

def request():
    buffers = [np.ones(2**20, np.uint8) for _ in range(4)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(5):
    request()
before = faults()
for _ in range(20):
    request()
print(faults() - before)
"""
PAGES_OF_ONE_REQUEST = 4 * 2**20 // 4096


def faults(argument: str, environment: dict[str, str]) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, argument],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it is a setting of glibc")
def test_freed_memory_is_used_again() -> None:
    assert faults("don't", {}) > 10 * PAGES_OF_ONE_REQUEST
    assert faults("keep", {}) < PAGES_OF_ONE_REQUEST


@pytest.mark.skipif(sys.platform != "linux", reason="it is a setting of glibc")
def test_the_operators_own_settings_of_the_c_library_are_kept() -> None:
    assert faults("keep", {"MALLOC_TRIM_THRESHOLD_": "131072"}) > 10 * PAGES_OF_ONE_REQUEST


# Each thread allocates and frees less than what the end of its heap may keep.
HEAPS = """
import threading
from pathlib import Path
import numpy as np
from convscope.server.process.memory import keep_freed_memory, trim_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def work():
    together.wait()
    buffers = [np.ones(2**20, np.uint8) for _ in range(24)]
    together.wait()
    del buffers

keep_freed_memory()
together = threading.Barrier(12)
before = resident()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
trim_memory()
print((resident() - before) // 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is a setting of glibc")
def test_memory_that_many_threads_have_freed_is_returned_when_it_is_trimmed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAPS], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 24


@pytest.mark.skipif(sys.platform != "linux", reason="it is a setting of glibc")
def test_the_server_has_one_heap(tiny_repository: Path) -> None:
    with ServerProcess(tiny_repository, command=FRESH) as server:
        with connected(server) as stub:
            for _ in range(20):
                stub.Classify(image_request(), timeout=30)
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert not heaps(maps)


def heaps(maps: str) -> list[str]:
    """Return the heaps beyond the first: 64 MiB that are reserved, of which the first are used."""
    found = []
    regions = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) 0+ 00:00 0 *$", maps, re.MULTILINE)
    for (start, end, access), (next_start, next_end, next_access) in pairwise(regions):
        is_reserved = (next_start, next_access) == (end, "---p")
        size = int(next_end, 16) - int(start, 16)
        if access == "rw-p" and is_reserved and size == 2**26 and not int(start, 16) % 2**26:
            found.append(f"{start}-{next_end}")
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="it is a setting of glibc")
def test_further_heaps_are_recognized() -> None:
    """Those that a program of several threads has by default."""
    program = HEAPS.replace("keep_freed_memory()", "").replace("2**20", "2**10")
    program += "print(Path('/proc/self/maps').read_text())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert heaps(done.stdout)


# Makes objects that stay, for which Python would collect everything; prints how often the younger
# ones have been collected since everything was.
OBJECTS = """
import asyncio, gc, sys
from convscope.server.process import memory

async def main():
    memory.CHECK_SECONDS = 0.01
    collecting = asyncio.create_task(memory.collect_garbage(lambda: int(sys.argv[1])))
    await asyncio.sleep(0)
    kept = [[] for _ in range(200_000)]
    before = gc.get_count()[2]
    await asyncio.sleep(0.2)
    print(before, gc.get_count()[2])

asyncio.run(main())
"""


@pytest.mark.parametrize(("open_calls", "is_collected"), [(0, True), (4000, False)])
def test_all_garbage_is_collected_only_when_few_calls_are_open(
    open_calls: int, is_collected: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OBJECTS, str(open_calls)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    before, after = map(int, done.stdout.split())
    assert before > 50  # Python didn't
    assert (after < 10) == is_collected
