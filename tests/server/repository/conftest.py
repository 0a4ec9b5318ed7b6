import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.loading import Follower, make_loader
from support.repositories import MakeManager

from convscope.server.repository.manager import ModelManager
from convscope.server.repository.selection import Selection
from convscope.server.runtime.figures import Figures
from convscope.server.runtime.validation.client import BundleValidator
from convscope.server.runtime.validation.examination import Examination, Findings, check_bundle
from convscope.server.runtime.versions import LoadedVersion


@pytest.fixture
def quick_inspection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validate in this process; validation in another one has tests of its own."""

    def check(_: BundleValidator, examination: Examination, __: object) -> Findings:
        return Findings(
            check_bundle(examination.directory, examination.trusted).bundle.manifest_sha256,
            Figures(),
        )

    monkeypatch.setattr(BundleValidator, "validate", check)


@pytest.fixture
def follower() -> Follower:
    return Follower()


@pytest.fixture
def make(tmp_path: Path, follower: Follower) -> MakeManager:
    """Make a manager of the repository in `tmp_path`."""

    def manager(
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        **selection: Any,
    ) -> ModelManager[LoadedVersion]:
        return ModelManager(
            tmp_path,
            make_loader(),
            Selection(**selection),
            follower,
            max_bytes=max_bytes,
            clock=clock,
        )

    return manager
