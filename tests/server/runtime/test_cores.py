"""The cores that a process may use, within its container's quota."""

import os
from pathlib import Path

import pytest

from convscope.server.runtime.cores import available_cores


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("150000 100000", 2),  # a limit of 1500m: a single thread couldn't use all of it
        ("400000 100000", 4),
        ("1600000 100000", 8),
        ("max 100000", 8),
    ],
)
def test_a_quota_limits_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)))
    (tmp_path / "cpu.max").write_text(content)
    assert available_cores(tmp_path) == cores


def test_a_quota_of_cgroup_version_1_limits_the_cores(tmp_path: Path) -> None:
    without = available_cores(tmp_path)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    assert available_cores(tmp_path) == without
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000")
    assert available_cores(tmp_path) == 1
