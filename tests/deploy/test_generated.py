"""The committed rules and dashboards are those that deploy/monitoring writes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from deploy.monitoring.files import generate, stale, write
from deploy.monitoring.objectives import Objectives


def test_the_committed_files_are_up_to_date(root: Path) -> None:
    command = [sys.executable, "-m", "deploy.monitoring", "--check"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr


def test_every_difference_is_found_and_corrected(objectives: Objectives, tmp_path: Path) -> None:
    files = generate(objectives)
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    assert stale(files, tmp_path) == sorted(files)
    write(files, tmp_path)
    assert stale(files, tmp_path) == []

    edited = tmp_path / "grafana/dashboards/time.json"
    edited.write_text(edited.read_text().replace("decode", "encode"))
    (tmp_path / "grafana/dashboards/old.json").write_text("{}")
    assert stale(files, tmp_path) == ["grafana/dashboards/old.json", "grafana/dashboards/time.json"]
    write(files, tmp_path)
    assert stale(files, tmp_path) == []


def test_an_objective_reaches_rules_and_dashboards(objectives: Objectives) -> None:
    before = generate(objectives)
    slower = replace(objectives, latency=replace(objectives.latency, threshold_seconds=0.25))
    after = generate(slower)
    changed = {path for path, text in after.items() if text != before[path]}
    assert changed == {"prometheus/rules.yml", "grafana/dashboards/overview.json"}
    assert 'le="0.25"' in after["prometheus/rules.yml"]
    assert 'le="0.1"' not in after["prometheus/rules.yml"]
    assert "Within 250 ms, 1 h" in after["grafana/dashboards/overview.json"]
