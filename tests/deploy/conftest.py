"""What the tests of deploy/ share."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dockerfile import Dockerfile
from deploy.prometheus_process import unpack_debian_prometheus

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS_CACHE = ROOT / ".cache" / "prometheus"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def compose(root: Path) -> dict[str, Any]:
    """The parsed docker-compose.yml."""
    parsed: dict[str, Any] = yaml.safe_load((root / "docker-compose.yml").read_text())
    return parsed


@pytest.fixture(scope="session")
def dockerfile(root: Path) -> Dockerfile:
    """The parsed Dockerfile."""
    return Dockerfile(root / "Dockerfile")


@pytest.fixture(scope="session")
def dashboard(root: Path) -> dict[str, Any]:
    """The parsed latency dashboard."""
    text = (root / "deploy/grafana/dashboards/latency.json").read_text()
    parsed: dict[str, Any] = json.loads(text)
    return parsed


@pytest.fixture(scope="session")
def prometheus_tools() -> Path:
    """The folder of `prometheus` and `promtool`: from PATH, or from Debian's package."""
    found = shutil.which("promtool")
    if found and shutil.which("prometheus"):
        return Path(found).parent
    PROMETHEUS_CACHE.parent.mkdir(exist_ok=True)
    with PROMETHEUS_CACHE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may run other tests of this folder
        if not PROMETHEUS_CACHE.exists():
            if os.geteuid() != 0 or not shutil.which("apt-get"):
                pytest.skip("needs promtool and prometheus on PATH; apt-get install prometheus")
            unpack_debian_prometheus(PROMETHEUS_CACHE)
    return PROMETHEUS_CACHE / "usr" / "bin"
