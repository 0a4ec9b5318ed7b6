"""`python -m deploy.ray.bulk` on a Ray cluster of this machine: every image once, whatever dies."""

import io
import logging
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from support.calls import wait_until
from support.processes import descendants
from support.s3 import BUCKET, S3Server
from support.server import ServerProcess

from convscope.client import Client, InvalidInputError
from convscope.client.cli.outputs.output_file import FileChoice
from deploy.ray.data.classifier import Classifier
from deploy.ray.data.job import INPUT_SCHEMA, Job, plan_job
from deploy.ray.data.parts import Parts

try:  # not an import, which would find the folder of these tests
    metadata.version("ray")
except metadata.PackageNotFoundError:
    pytest.skip("Ray is not installed; run: make test-ray", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
COUNT, BROKEN = 5000, (7, 1234, 2500, 3999, 4998)
JOB = Job("models", "tiny", 1, 3, 3, "", 0, {})
# The cluster ends when its stdin closes, so it never outlives the tests.
CLUSTER = """
import ray, sys
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200_000_000)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


class Cluster:
    """A cluster of one machine with two CPUs."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = (
            os.environ
            | environment
            | {
                "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback, on Linux too
            }
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            text=True,
        )
        assert self._process.stdout is not None
        address = self._process.stdout.readline().strip()
        assert address, "the cluster did not start"
        self._environment["RAY_ADDRESS"] = address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        """Start a bulk run."""
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.ray.bulk", *map(str, arguments)],
            cwd=ROOT,
            env=self._environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        """Run a bulk run to its end, and return its exit code and what it reports."""
        process = self.start(*arguments)
        _, report = process.communicate(timeout=240)
        return process.returncode, report

    def actors(self) -> list[int]:
        """Return the processes that classify."""
        return [pid for pid in descendants(self._process.pid) if "Classifier" in _title(pid)]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as s3:
        yield s3


@pytest.fixture(scope="module")
def cluster(s3: S3Server) -> Iterator[Cluster]:
    with Cluster(s3.environment) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 pictures of one color each, five of which are broken."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(COUNT):
        content = picture(number, size=(28, 28))
        path = folder / f"{number % 10}" / f"{number:04}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content[:40] if number in BROKEN else content)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 photos of several sizes and formats, in a folder with a subfolder."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "below").mkdir()
    for number in range(20):
        kind = ("PNG", "JPEG")[number % 2]
        path = folder / ("", "below")[number % 3 == 0] / f"{number:02}.{kind.lower()}"
        path.write_bytes(picture(number, size=(20 + 9 * number, 60), kind=kind))
    (folder / "notes.txt").write_text("no image")
    return folder


def picture(seed: int, size: tuple[int, int], kind: str = "PNG") -> bytes:
    """Return a picture of noise around a color."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 40, (size[1], size[0], 3))
    pixels = (noise + random.integers(0, 215, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, compress_level=1)
    return out.getvalue()


def options(repository: Path, output: Path, *more: str) -> tuple[str | Path, ...]:
    return ("--models", repository, "--model", "tiny", "--output", output, *more)


def rows(output: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of an output by their image, none of which may have two."""
    found = parquet.read_table(output).to_pylist()
    by_image = {row["image"]: row for row in found}
    assert len(by_image) == len(found)
    return by_image


def wait_for_part(output: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until a run has written its first results."""
    while not any(output.with_name(f"{output.name}.part").glob("*.parquet")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def check_complete(pictures: set[Path], output: Path, report: str) -> None:
    """Check that each good picture has a row, and that each broken one is named."""
    broken = {str(path) for path in pictures if int(path.stem) in BROKEN}
    assert rows(output).keys() == set(map(str, pictures)) - broken
    assert set(re.findall(r"^error: (\S+): ", report, re.MULTILINE)) == broken
    assert not output.with_name(f"{output.name}.part").exists()


@pytest.mark.slow(seconds=12)
def test_a_killed_actor_costs_no_image_and_repeats_none(
    cluster: Cluster, tiny_repository: Path, many: Path, tmp_path: Path
) -> None:
    output = tmp_path / "classes.parquet"
    arguments = options(tiny_repository, output, "--actors", "2", "--batch-size", "50")
    process = cluster.start(many, *arguments)
    wait_for_part(output, process)
    actors: list[int] = []

    def both_run() -> bool:
        """On a busy machine, one writes a part before the other has started."""
        actors[:] = cluster.actors()
        return len(actors) == 2

    wait_until(both_run)
    os.kill(actors[0], signal.SIGKILL)
    assert not output.exists()
    _, report = process.communicate(timeout=240)
    assert process.returncode == 2
    check_complete(set(many.rglob("*.png")), output, report)
    assert len(rows(output)) == 4995
    assert "4,995 images classified, 5 failed in" in report
    (named,) = re.findall(r"^failed: (.*)$", report, re.MULTILINE)
    assert len(named.split(", ")) == len(BROKEN)


@pytest.mark.slow(seconds=15)
def test_a_killed_run_continues_where_it_was(
    cluster: Cluster, tiny_repository: Path, many: Path, tmp_path: Path
) -> None:
    output = tmp_path / "classes.parquet"
    arguments = options(tiny_repository, output, "--actors", "2", "--batch-size", "50")
    pictures = set(many.glob("[0-2]/*.png"))  # 1,500, of which one is broken
    source = f"{many}/[0-2]/*.png"
    process = cluster.start(source, *arguments)
    wait_for_part(output, process)
    process.kill()
    process.communicate()
    parts = output.with_name(f"{output.name}.part").glob("*.parquet")
    kept = sum(parquet.read_metadata(part).num_rows for part in parts)
    code, report = cluster.run(source, *arguments)
    assert code == 64
    assert "add --resume to continue it" in report
    code, report = cluster.run(source, *arguments, "--resume")
    assert code == 2
    check_complete(pictures, output, report)
    left = len(pictures) - 1 - kept
    assert f"{left:,} images classified, 1 failed, {kept:,} done before" in report


@pytest.mark.slow(seconds=6)
def test_ctrl_c_before_the_first_result_is_reported(
    cluster: Cluster, tiny_repository: Path, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "classes.parquet"
    process = cluster.start(photos, *options(tiny_repository, output))
    lock = output.with_name(f"{output.name}.part") / "lock"
    while not lock.exists():  # it connects to Ray next
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    time.sleep(0.3)  # which takes seconds
    process.send_signal(signal.SIGINT)
    _, report = process.communicate(timeout=240)
    assert process.returncode == 130
    lines = report.splitlines()
    assert "interrupted" in lines  # Ray may have written a line before
    assert lines[-1] == "nothing was written"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow(seconds=15)
def test_the_rows_are_those_of_a_server(
    cluster: Cluster,
    tiny_repository: Path,
    tiny_server: ServerProcess,
    photos: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "classes.parquet"
    arguments = options(tiny_repository, output, "--embeddings", "last")
    code, report = cluster.run(photos, *arguments)
    assert code == 0, report
    assert "skipped 1 file that is not an image: 1 .txt" in report
    found = rows(output)
    assert parquet.read_schema(output).field("embedding").type == pa.list_(pa.float32(), 4)
    paths = sorted(map(str, photos.rglob("*.*g")))
    assert len(paths) == 20
    with Client(tiny_server.target) as client:
        expected = client.classify_many(paths, model="tiny", feature_maps=["conv"])
        for path, result in zip(paths, expected, strict=True):
            theirs, ours = result.to_row(), found[path]
            assert ours.keys() - {"embedding"} == theirs.keys() - {"error", "error_code"}
            for column in ("label", "index", "label_2", "index_3", "model", "version", "provider"):
                assert ours[column] == theirs[column]
            assert ours["probability"] == pytest.approx(theirs["probability"], abs=1e-6)
            means = result.feature_maps["conv"].array.mean(axis=(1, 2))
            assert ours["embedding"] == pytest.approx(means, abs=1e-5)
    (photos / "new.png").write_bytes(picture(99, (30, 30)))
    code, report = cluster.run(photos, *options(tiny_repository, output), "--resume")
    assert code == 1
    assert "was written with --embeddings conv, and this run has no --embeddings" in report
    code, report = cluster.run(photos, *arguments, "--resume")
    assert code == 0, report
    assert "1 image classified, 20 done before" in report
    assert len(rows(output)) == 21


@pytest.mark.slow(seconds=15)
def test_images_come_from_buckets_and_from_rows(
    cluster: Cluster, s3: S3Server, tiny_repository: Path, photos: Path, tmp_path: Path
) -> None:
    paths = sorted(photos.rglob("*.*g"))
    for path in paths:
        s3.system.pipe_file(f"s3://{BUCKET}/photos/{path.name}", path.read_bytes())
    output = tmp_path / "bucket.parquet"
    code, report = cluster.run(f"s3://{BUCKET}/photos", *options(tiny_repository, output))
    assert code == 0, report
    labels = {path.rpartition("/")[2]: row["label"] for path, row in rows(output).items()}
    assert labels.keys() == {path.name for path in paths}
    images = [{"bytes": path.read_bytes(), "path": None} for path in paths]
    table = pa.table({"id": [path.name for path in paths], "image": images})
    source = tmp_path / "rows.parquet"
    parquet.write_table(table, source)
    output = tmp_path / "rows-classes.parquet"
    code, report = cluster.run(source, "--names", "id", *options(tiny_repository, output))
    assert code == 0, report
    assert {name: row["label"] for name, row in rows(output).items()} == labels


def test_an_actor_loads_the_bundle_once(
    tiny_repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = plan_job(
        str(tiny_repository),
        "tiny",
        version=None,
        alias=None,
        top_k=3,
        layer="conv",
        settings={"cores": 1},
    )
    content = picture(1, (30, 30))
    columns = {"image": ["a", "b"], "content": [content, None], "error": [None, "it is gone"]}
    batch = pa.table(columns, schema=INPUT_SCHEMA)
    with caplog.at_level(logging.INFO, "convscope.server"):
        classifier = Classifier(job)
        results = [classifier(batch) for _ in range(3)]
    loads = [record for record in caplog.records if "model ready" in record.getMessage()]
    assert len(loads) == 1
    for result in results:
        assert result["label"].to_pylist() == [results[0]["label"][0].as_py(), None]
        assert result["error"].to_pylist() == [None, "it is gone"]
        assert len(result["embedding"][0]) == 4


def test_a_complete_output_keeps_its_rows_wherever_a_run_is_killed(tmp_path: Path) -> None:
    path, schema = tmp_path / "classes.parquet", JOB.schema
    folder = tmp_path / "classes.parquet.part"

    def continued() -> Parts:
        return Parts(FileChoice(path, "parquet", resume=True), schema)

    first = Parts(FileChoice(path, "parquet"), schema)
    first.add(pa.Table.from_pylist([{"image": "a"}, {"image": "b"}], schema=schema))
    first.write_part()
    first.publish()
    assert not folder.exists()  # although the run has not closed it yet
    second = continued()
    first.close()
    assert second.done.take("a")
    assert second.done.take("b")
    second.publish()
    folder.mkdir()  # of a run that was killed before it had a part
    third = continued()
    third.add(pa.Table.from_pylist([{"image": "c"}], schema=schema))
    third.write_part()
    third.publish()
    assert rows(path).keys() == {"a", "b", "c"}
    assert list(tmp_path.iterdir()) == [path]
    other = replace(JOB, top_k=2)
    with pytest.raises(InvalidInputError, match="was written with --top-k 3"):
        Parts(FileChoice(path, "parquet", resume=True), other.schema)
    assert not folder.exists()
