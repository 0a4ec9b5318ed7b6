"""Long runs of `convscope classify`: bad images, interruptions, and what is counted."""

import csv
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pytest
from PIL import Image
from support.commands import Command
from support.forked import Forked
from support.server import ServerProcess

from convscope.client.cli.outputs.journal import journal_path
from convscope.client.cli.run_summary import RunSummary

pytestmark = pytest.mark.one_transport("continues its own files")

PARQUET = pytest.param(
    ".parquet", marks=pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
)
COUNT, BAD = 1000, [7, 207, 407, 607, 807]
COLORS = [(200, 30, 20), (20, 180, 40), (30, 20, 220)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 photos in nested folders, 5 of them cut off, among other files."""
    root = tmp_path_factory.mktemp("album") / "photos"
    noise = np.random.default_rng(0)
    for number in range(COUNT):
        path = root / str(number % 7) / f"trip {number % 3}" / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.array(COLORS[number % 3]) + noise.integers(-15, 16, (60, 90, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
        if number in BAD:
            path.write_bytes(path.read_bytes()[:200])
    (root / "notes.txt").write_text("not a photo")
    (root / "3" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return root


def images_run(server: ServerProcess) -> int:
    """Return how many images the server has run, once it is idle."""
    found, before = -1, -2
    while found != before:
        time.sleep(0.3)
        line = re.search(r'^convscope_batch_images_sum\{.*"tiny".*\} (\S+)', server.metrics(), re.M)
        found, before = int(float(line[1])) if line else 0, found
    return found


def read_images(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        table = import_module("pyarrow.parquet").read_table(path)
        found: list[str] = table.column("image").to_pylist()
        return found
    with path.open(newline="") as file:
        return [row["image"] for row in csv.DictReader(file)]


def interrupt(
    arguments: list[str], output: Path, server: ServerProcess, act: Callable[[Forked], None]
) -> tuple[int, str]:
    """Start a run, act when it has some results, and return its exit code and error output."""
    part = journal_path(output)
    with TemporaryFile() as err:
        process = Forked("client", [*arguments, "--server", server.target], stderr=err.fileno())
        while process.poll() is None:
            if part.exists() and part.read_bytes().count(b"\n") > 100:
                act(process)
                break
            time.sleep(0.005)
        code = process.wait(60)
        err.seek(0)
        return code, err.read().decode()


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("suffix", [".csv", PARQUET])
def test_a_killed_run_is_continued_and_completed(
    tiny_server: ServerProcess, folder: Path, tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"out{suffix}"
    command = ["classify", "-r", str(folder), "--model", "tiny", "-o", str(output), "--resume"]
    code, _ = interrupt(command, output, tiny_server, Forked.kill)
    assert code != 0
    assert not output.exists()

    before = images_run(tiny_server)
    done = Command(tiny_server.target)(*command)
    counts = re.search(r"(\d+) images classified, 5 failed, (\d+) done before", done.stderr)
    assert counts is not None, done.stderr
    classified, done_before = map(int, counts.groups())
    assert done.returncode == 2
    assert done_before >= 90
    # Whatever had a row was not classified again, and everything else was classified once.
    assert images_run(tiny_server) - before == classified == COUNT - len(BAD) - done_before

    images = read_images(output)
    bad = {str(path) for path in folder.rglob("*.jpg") if int(path.stem) in BAD}
    assert len(images) == len(set(images)) == COUNT - len(BAD)
    assert set(images) == {str(path) for path in folder.rglob("*.jpg")} - bad
    assert all(f"error: {path}: " in done.stderr for path in bad)
    assert f"wrote {output}: 995 images" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.slow(seconds=8)
def test_a_thousand_photos_with_five_bad_ones(
    tiny_server: ServerProcess, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    done = Command(tiny_server.target)("classify", "-r", folder, "--model", "tiny", "-o", output)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(read_images(output)) == 995
    *errors, summary, skipped, wrote = done.stderr.splitlines()  # each failed image once
    bad = sorted(path for path in folder.rglob("*.jpg") if int(path.stem) in BAD)
    assert [error.split(".jpg:")[0] for error in errors] == [
        f"error: {path.with_suffix('')}" for path in bad
    ]
    assert re.match(r"995 images classified, 5 failed in .* s \([\d,]+ images/s\)$", summary)
    assert skipped == "skipped 1 file that is not an image: 1 .txt"
    assert wrote == f"wrote {output}: 995 images"


@pytest.mark.parametrize("follows_results", [True, False])
def test_failed_images_are_repeated_below_long_tables(
    follows_results: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = RunSummary(Counter(), None, follows_results=follows_results)
    summary.succeeded = 30
    summary.fail("bad.jpg")
    summary.print()
    shown = capsys.readouterr().err
    assert "30 images classified, 1 failed in " in shown
    assert ("failed: bad.jpg\n" in shown) == follows_results


@pytest.mark.slow(seconds=8)
def test_an_interrupted_run_prints_its_summary(
    tiny_server: ServerProcess, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    command = ["classify", "-r", str(folder), "--model", "tiny", "-o", str(output)]
    code, shown = interrupt(
        command, output, tiny_server, lambda process: process.send_signal(signal.SIGINT)
    )
    assert code == 130
    *_, stopped, summary, advice = shown.splitlines()
    assert (stopped, advice) == ("interrupted", "add --resume to the same command to continue")
    assert re.match(r"\d+ images classified, \d failed in ", summary)
    assert not output.exists()


@pytest.mark.slow(seconds=10)
def test_a_run_stops_when_the_server_is_gone(
    tiny_repository: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    command = ["classify", "-r", str(folder), "--model", "tiny", "-o", str(output), "--resume"]
    with ServerProcess(tiny_repository) as server:
        code, shown = interrupt(command, output, server, lambda process: server.process.kill())
    assert code == 2
    assert "stopped: 20 images in a row failed for the same reason" in shown
    assert shown.count("error:") < 10
    assert "add --resume to the same command to continue" in shown
    with ServerProcess(tiny_repository) as server:
        done = Command(server.target)(*command)
    assert done.returncode == 2
    assert len(read_images(output)) == COUNT - len(BAD)
