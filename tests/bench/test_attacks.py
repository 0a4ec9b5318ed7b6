"""The command of the attacks, on rows that take a moment, and the page of its results."""

import json
from pathlib import Path

import pytest

from bench.attacks.__main__ import main
from bench.attacks.page import tables
from bench.attacks.record import keep
from bench.attacks.results import Call, Result, Traffic
from bench.attacks.server import Checkout
from bench.context import ROOT

QUIET = Traffic.of([Call(0.0, 0.001, "OK")] * 100)
ATTACKED = Traffic.of([Call(0.0, 0.003, "OK")] * 98 + [Call(0.0, 5.0, "UNAVAILABLE")] * 2)


@pytest.mark.slow(seconds=15)
def test_attacks_are_made_and_recorded_beside_an_honest_caller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "attacks.json"
    main(["--only", "reflection,metrics", "--seconds", "0.5", "--output", str(output)])
    (run,) = json.loads(output.read_text()).values()
    invalid, idle, path = run["results"]
    assert invalid["figures"]["reply"].startswith("INVALID_ARGUMENT")
    assert idle["figures"]["threads"] < 100
    assert path["figures"]["reply"] == "status 404"
    for result in (invalid, idle):
        assert result["quiet"]["calls"] > 10
        assert result["attacked"]["calls"] > 10
        assert result["attacked"]["errors"] == {}
    assert "INVALID_ARGUMENT" in capsys.readouterr().out


def test_unknown_rows_are_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "exif,earthquakes"])
    assert "no row 'earthquakes'; the rows are control, exif" in capsys.readouterr().err


def test_flags_that_a_server_lacks_are_left_out_with_their_values() -> None:
    flags = ["--no-tuning", "--telepathy", "strong", "--max-queue", "5", "--max-que", "7"]
    assert Checkout(ROOT).known(flags) == ["--no-tuning", "--max-queue", "5"]


def test_the_page_compares_runs_of_several_commits(tmp_path: Path) -> None:
    file = tmp_path / "attacks.json"
    before = Result("exif", "2 MB", {"cpu_seconds": 7.5, "reply": "OK"}, QUIET, ATTACKED)
    after = Result("exif", "2 MB", {"cpu_seconds": 0.01, "reply": "OK"}, QUIET, QUIET)
    keep(file, ("aaa", "2026-11-24"), [before], others=0.9)
    keep(file, ("bbb", "2026-11-28"), [before], others=0.0)
    keep(file, ("bbb", "2026-11-28"), [after], others=0.0)  # replaces the one before
    page = tables(json.loads(file.read_text()))
    assert "### JPEG with many Exif segments" in page
    assert (
        "| 2 MB | 7.50 s of CPU, OK | p99 1 → 5000 ms (5000.0 times), 2 UNAVAILABLE of 100 "
        "| 0.01 s of CPU, OK | p99 1 → 1 ms (1.0 times), no errors |"
    ) in page
    assert "commit `aaa`. It was measured on a busy machine: other programs used 90%" in page


def test_a_call_that_fails_counts_with_its_time() -> None:
    assert ATTACKED.p99_ms == 5000
    assert ATTACKED.failures() == "2 UNAVAILABLE of 100"
