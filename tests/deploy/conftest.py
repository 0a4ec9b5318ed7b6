"""Fixtures for the tests of deploy/."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dockerfile import Dockerfile
from deploy.monitoring.objectives import Objectives
from deploy.monitoring.prometheus import ToolsError, find_tools

ROOT = Path(__file__).resolve().parents[2]


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
def objectives() -> Objectives:
    """The parsed deploy/objectives.toml."""
    return Objectives.read()


@pytest.fixture(scope="session")
def dashboards(root: Path) -> dict[str, dict[str, Any]]:
    """The parsed dashboards by file name."""
    paths = sorted((root / "deploy/grafana/dashboards").glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in paths}


@pytest.fixture(scope="session")
def prometheus_tools() -> Path:
    """The folder of `prometheus` and `promtool`."""
    try:
        return find_tools()
    except ToolsError as error:
        pytest.skip(str(error))
