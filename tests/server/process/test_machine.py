"""The cores that a container's quota leaves."""

from pathlib import Path

import pytest

from convscope.server.process.machine import available_cores


@pytest.mark.parametrize(
    ("content", "cores"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)]
)
def test_a_quota_limits_the_cores(tmp_path: Path, content: str, cores: int | None) -> None:
    without = available_cores(tmp_path)
    (tmp_path / "cpu.max").write_text(content)
    assert available_cores(tmp_path) == (cores or without)


def test_a_quota_of_the_first_version_is_seen(tmp_path: Path) -> None:
    without = available_cores(tmp_path)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    assert available_cores(tmp_path) == without
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000")
    assert available_cores(tmp_path) == 1
