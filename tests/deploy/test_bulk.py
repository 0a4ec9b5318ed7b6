"""What `python -m deploy.ray.bulk` says, as far as it needs no Ray; tests/ray/ has its runs."""

import re
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import typer
from pyarrow import parquet
from support.alterations import flip_byte
from support.tiny import write_tiny
from typer.testing import CliRunner

from convscope.client import FailedPreconditionError, InvalidInputError
from deploy.ray.bulk import app
from deploy.ray.data import progress as progress_module
from deploy.ray.data.interruption import reporting_interruption
from deploy.ray.data.job import Job, plan_job
from deploy.ray.data.progress import progress
from deploy.ray.data.workers import Share, Workers


def plan(repository: Path, model: str = "tiny", version: int | None = None) -> Job:
    return plan_job(
        str(repository), model, version=version, alias=None, top_k=3, layer=None, settings={}
    )


@pytest.mark.parametrize(
    ("model", "version", "message"),
    [
        ("tin", None, "no model 'tin' in {models}; did you mean tiny?"),
        ("cat", 1, "no model 'cat' in {models}; it has: signal, tiny"),
        ("all", None, "no model 'all' in {models}; it has: signal, tiny"),
        ("tiny", 7, "--version 7: there is no such version of tiny; it has: 1"),
    ],
)
def test_what_does_not_exist_is_named_as_on_the_command_line(
    tiny_repository: Path, model: str, version: int | None, message: str
) -> None:
    with pytest.raises(InvalidInputError) as raised:
        plan(tiny_repository, model, version)
    assert str(raised.value) == message.format(models=tiny_repository)


def test_what_exists_and_cannot_be_loaded_keeps_its_reason(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError, match="is not a directory"):
        plan(tmp_path / "missing")
    with pytest.raises(FailedPreconditionError, match="holds no model"):
        plan(tmp_path)
    flip_byte(write_tiny(tmp_path) / "model.onnx", 9)
    with pytest.raises(FailedPreconditionError, match="was rejected: tiny v1: the SHA-256"):
        plan(tmp_path, version=1)


@pytest.mark.parametrize(
    ("workers", "cluster", "share"),
    [
        (Workers(None, 1, 0, 64), (2, 0, 2), Share(1, 1, 0.5)),
        (Workers(2, 1, 0, 64), (2, 0, 2), Share(2, 0.75, 0.5)),
        (Workers(None, 1, 0, 64), (64, 0, 16), Share(56, 1, 0.5)),
        (Workers(None, 4, 0, 64), (64, 0, 16), Share(14, 4, 0.5)),
        (Workers(None, 4, 1, 64), (64, 8, 16), Share(8, 4, 0.5)),
    ],
)
def test_an_eighth_of_the_cpus_reads(
    workers: Workers, cluster: tuple[float, float, float], share: Share
) -> None:
    assert workers.share(*cluster) == share


@pytest.mark.parametrize(
    ("workers", "gpus", "message"),
    [
        (Workers(None, 12, 0, 64), 0, "--cpus-per-actor 12 is more than the 8 CPUs of the largest"),
        (Workers(None, 1, 1, 64), 0, "--gpus-per-actor 1 needs a GPU; the cluster has none"),
        (Workers(3, 1, 0.5, 64), 0, "--gpus-per-actor 0.5 needs a GPU; the cluster has none"),
        (Workers(None, 1, 2, 64), 1, "--gpus-per-actor 2 needs more than the 1 GPU of the cluster"),
        (Workers(3, 1, 1, 64), 2, "--actors 3 with --gpus-per-actor 1 needs more than the 2 GPUs"),
    ],
)
def test_an_actor_must_fit_into_the_cluster(workers: Workers, gpus: float, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}"):
        workers.share(cpus=16, gpus=gpus, largest=8)


def test_the_rate_counts_from_the_first_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter((0.0, 32.0, 37.0, 42.0, 52.0))
    clock = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr(progress_module, "time", clock)
    with progress(1600, quiet=False) as show:
        for done, failed in ((64, 0), (128, 0), (264, 1), (464, 1)):
            show(done, failed)
    assert capsys.readouterr().err.splitlines() == [
        "64 of 1,600 images",
        "264 of 1,600 images, 1 failed, 20.0 images/s",
        "464 of 1,600 images, 1 failed, 20.0 images/s",
    ]


def test_ctrl_c_before_the_first_result_says_what_there_is_to_continue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "classes.parquet"
    parts = tmp_path / "classes.parquet.part"

    def interrupt(*, quiet: bool = False) -> str:
        with pytest.raises(typer.Exit) as ended, reporting_interruption(output, quiet=quiet):
            raise KeyboardInterrupt
        assert ended.value.exit_code == 130
        return capsys.readouterr().err

    assert interrupt() == "interrupted\nnothing was written\n"
    parts.mkdir()
    (parts / "lock").touch()
    assert interrupt() == "interrupted\nnothing was written\n"
    (parts / "000001.parquet").touch()
    assert interrupt() == "interrupted\nadd --resume to the same command to continue\n"
    assert interrupt(quiet=True) == ""


def test_a_run_is_continued_or_starts_again_and_not_both(tmp_path: Path) -> None:
    named = ["photos", "--models", "models", "--model", "tiny"]
    output = ["--output", str(tmp_path / "classes.parquet")]
    done = CliRunner().invoke(app, [*named, *output, "--resume", "--overwrite"])
    assert done.exit_code == 64
    assert "--resume and --overwrite contradict each other" in done.output


def test_the_join_of_the_page_matches_names(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (root / "docs/guides/bulk.md").read_text()
    (code,) = re.findall(r"```python title=\"join.py\"\n(.*?)```", page, re.DOTALL)
    # Image b failed, so it has no row, and the results are in another order than the labels.
    classes = {"image": ["d", "a", "c"], "label": ["4", "1", "7"]}
    parquet.write_table(pa.table(classes), tmp_path / "classes.parquet")
    (tmp_path / "labels.csv").write_text("image,label\na,1\nb,2\nc,3\nd,4\n")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert float(capsys.readouterr().out) == pytest.approx(2 / 3)
