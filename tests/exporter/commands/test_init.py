"""`init`: the project that it writes works as it is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.exporter import run_exporter
from typer.testing import CliRunner

from convscope.exporter.cli import app

FILES = ["README.md", "dataset.py", "network.py"]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.slow(seconds=12)
def test_the_commands_that_it_prints_train_a_network(tmp_path: Path) -> None:
    written = CliRunner().invoke(app, ["init", str(tmp_path / "project")])
    assert written.exit_code == 0, written.stderr
    project = tmp_path / "project"
    assert names(project) == FILES
    lines = [line.strip() for line in written.stdout.split("next:")[1].splitlines() if line.strip()]
    assert lines[0] == f"cd {project}"
    text = ""
    for program, *arguments in (line.split() for line in lines[1:]):
        if program == "python":
            command = [sys.executable, *arguments]
            done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        else:
            assert program == "convscope-exporter"
            done = run_exporter(*arguments, directory=project)
        assert done.returncode == 0, done.stderr
        text += done.stdout
    assert text.startswith("dataset.npz has 2400 images of circle, square, triangle\n")
    assert (project / "models/shapes/1/model.onnx").is_file()
    (accuracy,) = re.findall(r"^accuracy  (\S+) on npz:dataset.npz test", text, re.MULTILINE)
    assert float(accuracy) > 0.8


def test_the_readme_has_the_commands_that_it_prints(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["init", str(tmp_path)])
    readme = (tmp_path / "README.md").read_text().replace("\\\n      ", "")
    *_, prepare, train = (line.strip() for line in done.stdout.strip().splitlines())
    assert f"$ {prepare}\n$ {train}\n" in readme


def test_it_writes_into_this_directory_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init"])
    assert done.exit_code == 0
    assert names(tmp_path) == FILES
    assert "cd " not in done.stdout


def test_it_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text("# mine")
    done = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert done.exit_code == 1
    assert f"error: {tmp_path / 'network.py'} exists; nothing was written" in done.stderr
    assert names(tmp_path) == ["network.py"]
    assert (tmp_path / "network.py").read_text() == "# mine"
