"""Freed memory is used again, and not returned to the system after each request."""

import os
import subprocess
import sys

import pytest

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
