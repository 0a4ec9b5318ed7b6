"""The record of a training run as the report reads it."""

import json
import warnings
from pathlib import Path

from convscope.exporter.evaluation.plots import accuracy_curve, loss_curves
from convscope.exporter.evaluation.run_files import read_run

HEADER = "epoch,train_loss,val_loss,val_accuracy,learning_rate,seconds\n"


def write_run(folder: Path, rows: str, **settings: object) -> None:
    (folder / "metrics.csv").write_text(HEADER + rows)
    (folder / "run.json").write_text(json.dumps(settings))


def test_curves_are_drawn_without_a_warning(tmp_path: Path) -> None:
    split = {"validation": {"a": 3, "b": 1}}
    header = "epoch,train_loss,val_loss,val_accuracy,learning_rate,seconds,train_accuracy\n"
    (tmp_path / "metrics.csv").write_text(f"{header}1,0.9,0.8,0.5,0.1,2,0.25\n")
    (tmp_path / "run.json").write_text(json.dumps({"best_epoch": 1, "split": split}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = read_run(tmp_path)
        accuracy = accuracy_curve(run)
        assert loss_curves(run) is not None
    assert run.epochs[0].train_accuracy == 0.25
    assert run.majority_share("validation") == 0.75
    assert accuracy is not None
    assert ">most frequent class<" in accuracy


def test_epochs_and_settings(tmp_path: Path) -> None:
    split = {"train": {"a": 3, "b": 4}, "test": {"a": 1, "b": 1}}
    write_run(tmp_path, "1,0.9,0.8,0.5,0.1,2\n2,0.5,0.6,0.75,0.1,3\n", best_epoch=2, split=split)
    run = read_run(tmp_path)
    assert [(one.epoch, one.val_accuracy) for one in run.epochs] == [(1, 0.5), (2, 0.75)]
    assert (run.best_epoch, run.seconds) == (2, 5.0)
    assert run.split_sizes() == {"train": 7, "test": 2}


def test_curves_leave_out_values_that_are_missing_or_not_finite(tmp_path: Path) -> None:
    write_run(tmp_path, "1,nan,0.8,,0.1,2\n2,inf,0.6,,0.1,3\n")
    run = read_run(tmp_path)
    assert [one.train_loss for one in run.epochs] == [None, None]
    assert loss_curves(run) is not None
    assert accuracy_curve(run) is None


def test_a_run_without_files_has_no_curves(tmp_path: Path) -> None:
    run = read_run(tmp_path)
    assert run.epochs == ()
    assert loss_curves(run) is None
    (tmp_path / "run.json").write_text("{")
    assert read_run(tmp_path).best_epoch is None


def test_colors_of_a_plot_are_those_of_the_page(tmp_path: Path) -> None:
    write_run(tmp_path, "1,0.9,0.8,0.5,0.1,2\n", best_epoch=1)
    svg = loss_curves(read_run(tmp_path))
    assert svg is not None
    assert "var(--blue)" in svg
    assert "#0001" not in svg
    assert ">published</text>" in svg
