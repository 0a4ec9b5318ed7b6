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
