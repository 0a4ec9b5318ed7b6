"""Ray on this machine, for the tests of `make test-ray`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """Ray with two cores, for all tests."""
    import ray

    os.environ["PYTHONPATH"] = str(ROOT)  # of Ray's processes, which import deploy.ray
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"  # a token would be stored in the home directory
    ray.init(
        num_cpus=2,
        object_store_memory=100 * MIB,
        include_dashboard=False,
        log_to_driver=False,
    )
    yield
    ray.shutdown()
