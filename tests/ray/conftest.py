"""Ray on this machine, for the tests of `make test-ray`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20

# Ray reads them when it is imported.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback, on Linux too
    "RAY_AUTH_MODE": "disabled",  # otherwise it stores a token in the home directory
    # On a busy machine, its processes take longer to start than it allows.
    "RAY_agent_register_timeout_ms": "200000",
    "RAY_raylet_start_wait_time_s": "200",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "200",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "200",
}


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """Ray with two cores, for all tests."""
    import ray

    os.environ["PYTHONPATH"] = str(ROOT)  # of Ray's processes, which import deploy.ray
    ray.init(
        num_cpus=2,
        object_store_memory=100 * MIB,
        include_dashboard=False,
        log_to_driver=False,
    )
    yield
    ray.shutdown()
