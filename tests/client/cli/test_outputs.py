"""The outputs of `convscope classify`: formats, files, pictures and arrays."""

import csv
import json
import os
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from support.commands import Command
from support.forked import run
from support.server import ServerProcess

from convscope.client import Client, InvalidInputError
from convscope.client.cli.outputs import choice
from convscope.client.cli.outputs.columns import Columns, Layout
from convscope.client.cli.outputs.comparison import Compared
from convscope.client.cli.outputs.done_images import DoneImages
from convscope.client.cli.outputs.formats import record_writer
from convscope.client.cli.outputs.journal import Journal, journal_path, read_results
from convscope.client.cli.outputs.records import Record, error_record, result_record

pytestmark = pytest.mark.one_transport("writes results to files")

Photos = dict[str, Path]
NEEDS_ARROW = pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
PARQUET = pytest.param(".parquet", marks=NEEDS_ARROW)
ALL = ["model", "version", "provider"]
ALL += [f"{stage}_seconds" for stage in ("decode", "queue", "infer", "encode", "call")]
ALL += ["request_id"]
WIDE = ["image", "label", "index", "probability", "label_2", "index_2", "probability_2", *ALL]
LONG = ["image", "rank", "label", "index", "probability", *ALL]


@pytest.fixture
def convscope(tiny_server: ServerProcess) -> Command:
    return Command(tiny_server.target)


def read(path: Path) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and the rows of an output."""
    if path.suffix == ".parquet":
        table = import_module("pyarrow.parquet").read_table(path)
        return table.column_names, [list(row.values()) for row in table.to_pylist()]
    with path.open(newline="") as file:
        columns, *rows = csv.reader(file)
    return columns, rows


@pytest.mark.parametrize("suffix", [".csv", PARQUET])
def test_a_row_for_each_image(
    convscope: Command, photos: Photos, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    done = convscope("classify", *photos.values(), "--model", "tiny", "--top-k", "2", "-o", out)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"wrote {out}: 3 images" in done.stderr
    columns, rows = read(out)
    assert columns == WIDE
    assert [row[0] for row in rows] == [str(photo) for photo in photos.values()]
    assert [row[1] for row in rows] == list(photos)
    assert all(float(row[3]) > 0.5 > float(row[6]) for row in rows)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("suffix", [".csv", PARQUET])
def test_a_row_for_each_class(
    convscope: Command, photos: Photos, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    options = ("--model", "tiny", "--top-k", "2", "--layout", "long", "-o", out)
    assert convscope("classify", photos["red"], photos["blue"], *options).returncode == 0
    columns, rows = read(out)
    assert columns == LONG
    assert [(str(row[1]), row[2]) for row in rows if str(row[1]) == "1"] == [
        ("1", "red"),
        ("1", "blue"),
    ]
    assert len(rows) == 4


@NEEDS_ARROW
def test_types_of_parquet(convscope: Command, photos: Photos, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    options = ("--model", "tiny", "--min-probability", "0.9", "--top-k", "2", "-o", out)
    convscope("classify", photos["red"], *options)
    (row,) = import_module("pyarrow.parquet").read_table(out).to_pylist()
    assert row["version"] == 1
    assert isinstance(row["probability"], float)
    assert row["label_2"] is None


def test_an_image_without_a_class_has_a_row() -> None:
    times = dict.fromkeys(("decode", "queue", "infer", "encode"), 0.5)
    record = {"image": "a", "model": "m", "classes": [], "stage_seconds": times}
    rest = [None, None, *[0.5] * 4, None, None]
    assert list(Columns("wide", 1).rows(record)) == [["a", None, None, None, "m", *rest]]
    assert list(Columns("long", 1).rows(record)) == [["a", None, None, None, None, "m", *rest]]


def test_the_columns_are_those_of_the_rows_of_the_sdk(
    tiny_server: ServerProcess, photos: Photos
) -> None:
    with Client(tiny_server.target) as client:
        result = client.classify(photos["red"], model="tiny", top_k=3)
    expected = result.to_row()
    del expected["error_code"], expected["error"]  # an image that failed has no row
    columns = Columns("wide", 3)
    (row,) = columns.rows(result_record(result.image, result))
    assert dict(zip(columns.names, row, strict=True)) == expected
    assert columns.names == list(expected)
    assert all(isinstance(expected[name], kind) for name, kind in columns.types.items())


def test_formats_on_standard_output(convscope: Command, photos: Photos, tmp_path: Path) -> None:
    odd = tmp_path / 'a|b*,"\n.png'
    odd.write_bytes(photos["red"].read_bytes())
    command = ("classify", odd, "--model", "tiny", "--top-k", "1", "--format")
    (row,) = csv.DictReader(convscope(*command, "csv").stdout.splitlines(keepends=True))
    assert (row["image"], row["label"]) == (str(odd), "red")
    assert json.loads(convscope(*command, "json").stdout)["image"] == str(odd)
    header, rule, line = convscope(*command, "markdown").stdout.splitlines()
    assert (header, rule) == ("| image | label | probability |", "| --- | --- | ---: |")
    assert r'/a\|b\*,"\n.png | red | 0.' in line


def test_markdown_has_what_a_person_reads() -> None:
    labels = {"tabby cat": 0.75, "lynx": 0.2, "fox": 0.05}
    classes = [{"index": 7, "label": label, "probability": p} for label, p in labels.items()]
    records: list[Record] = [
        {"image": "a.png", "classes": classes},
        {"image": "b.png", "classes": []},
        error_record("c.png", InvalidInputError("bad")),
    ]

    def rows(layout: Layout, count: int) -> list[str]:
        file = StringIO()
        writer = record_writer("markdown", file, Columns(layout, count))
        for record in records:
            writer.write(record)
        writer.finish()
        return file.getvalue().splitlines()

    assert rows("wide", 3) == [
        "| image | label | probability | runners-up |",
        "| --- | --- | ---: | --- |",
        "| a.png | tabby cat | 0.7500 | lynx 0.2000, fox 0.0500 |",
        "| b.png |  |  |  |",
    ]
    assert rows("long", 3) == [
        "| image | rank | label | probability |",
        "| --- | ---: | --- | ---: |",
        "| a.png | 1 | tabby cat | 0.7500 |",
        "| a.png | 2 | lynx | 0.2000 |",
        "| a.png | 3 | fox | 0.0500 |",
        "| b.png |  |  |  |",
    ]


@pytest.mark.parametrize("suffix", [".csv", PARQUET])
def test_names_that_are_not_utf_8_are_escaped(
    convscope: Command, photos: Photos, tmp_path: Path, suffix: str
) -> None:
    odd = tmp_path / "\udcff.png"
    odd.write_bytes(photos["red"].read_bytes())
    out = tmp_path / f"out{suffix}"
    assert convscope("classify", odd, "--model", "tiny", "-o", out).returncode == 0
    assert read(out)[1][0][0] == rf"{tmp_path}/\xff.png"


def test_a_table_in_a_pipe_is_never_folded(
    tiny_server: ServerProcess, photos: Photos, tmp_path: Path
) -> None:
    long_name = tmp_path / f"{'a long name ' * 15}.png"
    long_name.write_bytes(photos["red"].read_bytes())
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    arguments = ["classify", str(long_name), "--model", "tiny", "--server", tiny_server.target]
    done = run("client", arguments, environment)
    assert long_name.name in done.stdout


def test_many_images_are_shown_in_several_tables(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    listed = tmp_path / "list"
    listed.write_text(f"{photos['red']}\n" * 501)
    options = ("--model", "tiny", "--top-k", "1")
    done = convscope("classify", "--from-file", listed, *options)
    assert done.returncode == 0
    assert done.stdout.count("probability") == 2
    assert done.stdout.count("red.png") == 501


def test_an_existing_output_is_kept(convscope: Command, photos: Photos, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    command = ("classify", photos["red"], "--model", "tiny", "-o", out)
    done = convscope(*command)
    assert done.returncode == 64
    assert "--overwrite to replace it" in " ".join(done.stderr.split())
    assert out.read_text() == "mine"
    done = convscope(*command, "--resume")
    assert done.returncode == 1
    assert "out.csv' can't be continued: it is not an output of this command" in done.stderr
    assert out.read_text() == "mine"
    assert convscope(*command, "--overwrite").returncode == 0
    assert len(read(out)[1]) == 1


def test_nothing_is_written_if_no_image_succeeds(convscope: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"bad")
    done = convscope("classify", tmp_path, "-r", "--model", "tiny", "-o", tmp_path / "out.csv")
    assert done.returncode == 1
    assert "was not written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]


@pytest.mark.parametrize("suffix", [".csv", PARQUET, ".jsonl"])
def test_resume_adds_the_images_that_an_output_lacks(
    convscope: Command, photos: Photos, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    folder = tmp_path / "photos"
    folder.mkdir()
    bad = folder / "1.png"
    bad.write_bytes(b"bad")
    (folder / "0.png").write_bytes(photos["red"].read_bytes())
    command = ("classify", folder, "-r", "--model", "tiny", "-o", out, "--resume")
    long = () if suffix == ".jsonl" else ("--layout", "long")
    assert convscope(*command, *long).returncode == 2
    bad.write_bytes(photos["green"].read_bytes())
    (folder / "2.png").write_bytes(photos["blue"].read_bytes())
    done = convscope(*command, *long)
    assert done.returncode == 0
    assert "2 images classified, 1 done before in " in done.stderr
    if suffix == ".jsonl":
        results = [json.loads(line) for line in out.read_text().splitlines()]
        assert [result["classes"][0]["label"] for result in results] == ["red", "green", "blue"]
    else:
        rows = read(out)[1]
        assert [row[2] for row in rows if str(row[1]) == "1"] == ["red", "green", "blue"]
        assert len(rows) == 9


@pytest.mark.parametrize("suffix", [".csv", ".json", PARQUET])
def test_a_complete_output_is_not_continued_with_other_options(
    convscope: Command, photos: Photos, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    command: tuple[str | Path, ...]
    command = ("classify", *photos.values(), "--model", "tiny", "-o", out)
    assert convscope(*command, "--top-k", "2").returncode == 0
    content = out.read_bytes()
    for options, words in {
        ("--top-k", "3"): "the file has 2 classes per image, and this run 3",
        ("--top-k", "1"): "the file has 2 classes per image, and this run 1",
        ("--top-k", "2", "--min-probability", "0.6"): "and --min-probability of this run is 0.6",
    }.items():
        done = convscope(*command, "--resume", *options)
        assert done.returncode == 1
        assert words in done.stderr
        assert len(done.stderr) < 350
        assert out.read_bytes() == content
    assert convscope(*command, "--resume", "--top-k", "2").returncode == 0
    assert convscope(*command, "--overwrite", "--min-probability", "0.6").returncode == 0
    done = convscope(*command, "--resume")
    assert "the file has 1 class per image, and this run 3" in done.stderr
    done = convscope(*command, "--resume", "--min-probability", "0.1")
    assert done.returncode == 0  # whether other classes reach 0.1 is unknown
    assert "may have been written with a higher --min-probability" in done.stderr


def test_a_complete_output_has_results_of_the_version_that_is_named() -> None:
    options = {"--model": "m", "--min-probability": 0.0, "--feature-maps": []}
    record = {"model": "m", "version": 1, "classes": [{"probability": 1.0}]}
    columns = Columns("wide", 1)
    for named in (None, 1):
        assert list(Compared([record], Path("a.json"), columns, options, named)) == [record]
    with pytest.raises(InvalidInputError, match="results of version 1, and this run of 2"):
        list(Compared([record], Path("a.json"), columns, options, 2))


def test_json_is_not_continued_with_other_feature_maps(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    command = ("classify", photos["red"], "--model", "tiny", "-o", tmp_path / "out.json")
    assert convscope(*command).returncode == 0
    done = convscope(*command, "--resume", "--feature-maps", "conv")
    assert done.returncode == 1
    assert "the file has no feature maps, and this run the feature maps conv" in done.stderr
    command = (
        "classify",
        photos["red"],
        "--model",
        "tiny",
        "-o",
        tmp_path / "out.csv",
    )  # its rows don't show them
    assert convscope(*command).returncode == 0
    save = ("--feature-maps", "conv", "--save", tmp_path / "maps")
    done = convscope(*command, "--resume", *save)
    assert "no pictures were saved of the images that were done before" in done.stderr


def test_csv_of_another_layout_is_not_continued(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    command = ("classify", photos["red"], "--model", "tiny", "-o", tmp_path / "out.csv")
    assert convscope(*command).returncode == 0
    done = convscope(*command, "--resume", "--layout", "long")
    assert "the file has the layout wide, and this run long" in done.stderr


def test_resume_knows_an_image_by_all_spellings_of_its_path(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    out, red = tmp_path / "out.csv", photos["red"]
    options = ("--model", "tiny", "-o", out)
    assert convscope("classify", red, *options).returncode == 0
    again = f"{red.parent}/./../{red.parent.name}/{red.name}"
    done = convscope("classify", again, *options, "--resume")
    assert done.returncode == 0
    assert "nothing to do: 1 image was done before\n" in done.stderr
    assert [row[0] for row in read(out)[1]] == [str(red)]


def test_an_interrupted_run_needs_a_decision(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    command = ("classify", photos["red"], photos["blue"], "--model", "tiny", "-o", out)
    convscope(*command)
    record = {"image": str(photos["red"]), "model": "tiny", "rows": [read(out)[1][0]]}
    out.unlink()
    options: dict[str, Any] = {
        "--model": "tiny",
        "--alias": None,
        "--version": 1,
        "--top-k": 5,
        "--min-probability": 0.0,
        "--feature-maps": [],
        "--format": "csv",
        "--layout": "wide",
    }
    part = journal_path(out)
    journal = Journal(part, options, [record])
    assert "another process is writing" in convscope(*command, "--resume").stderr
    journal.close()
    with part.open("a") as file:
        file.write('{"image": "cut o')
    assert convscope(*command).returncode == 64
    done = convscope(*command, "--resume", "--top-k", "3")
    assert done.returncode == 1
    assert "was written with --top-k 5, and this run has --top-k 3" in done.stderr
    done = convscope(*command, "--resume", "--layout", "long")  # the rows are wide ones
    assert "was written with --layout wide, and this run has --layout long" in done.stderr
    done = convscope(*command, "--resume", "--feature-maps", "conv")
    assert "with no --feature-maps, and this run has --feature-maps conv" in done.stderr
    done = convscope(*command, "--resume")
    assert done.returncode == 0, done.stderr
    assert "1 image classified, 1 done before" in done.stderr
    assert [row[1] for row in read(out)[1]] == ["red", "blue"]
    assert not part.exists()


def test_a_journal_loses_only_the_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out.part"
    journal = Journal(path, {}, [])
    for number in range(3):
        journal.write({"image": f"{number}\n\u2028é"})
    journal.write({"image": "bad", "error": {}})
    journal.close()
    content = path.read_bytes()
    whole = [record["image"] for record in read_results(path)]
    assert whole == ["0\n\u2028é", "1\n\u2028é", "2\n\u2028é"]
    ends = [position for position, byte in enumerate(content, 1) if byte == ord("\n")]
    for end in range(ends[0], len(content)):
        path.write_bytes(content[:end])
        found = [record["image"] for record in read_results(path)]
        assert found == whole[: sum(end >= each for each in ends[1:4])]


def test_all_spellings_of_a_path_are_one_image() -> None:
    done = DoneImages(["p/a.jpg", "./b.jpg", "https://host//a"])
    asked = ("./p/a.jpg", "p/../b.jpg", "p//a.jpg", "https://host/a", "https://host//a")
    assert [done.take(name) for name in asked] == [True, True, False, False, True]


def test_an_image_given_twice_is_done_twice() -> None:
    done = DoneImages(["a", "b", "a"])
    assert [done.take(name) for name in ("a", "c", "a", "a", "b", "b")] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]


def test_parquet_names_the_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "is_parquet_available", lambda: False)
    with pytest.raises(typer.BadParameter, match=r"pip install '\.\[tables\]'"):
        choice.choose_format(None, as_json=False, output=tmp_path / "out.parquet")


def test_all_feature_maps_as_arrays(convscope: Command, photos: Photos, tmp_path: Path) -> None:
    for name in ("x/a.png", "x/a.jpg", "y/a.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photos["red"].read_bytes())
    options = ("--feature-maps", "all", "--save", tmp_path / "maps")
    command = ("classify", "-r", tmp_path / "photos", "--model", "tiny", *options)
    done = convscope(*command, "--save-format", "npz")
    assert done.returncode == 0
    files = sorted((tmp_path / "maps").rglob("*.*"))
    saved = [str(path.relative_to(tmp_path / "maps")) for path in files]
    assert saved == ["x/a.jpg.tiny.npz", "x/a.png.tiny.npz", "y/a.png.tiny.npz"]
    with np.load(files[0]) as arrays:
        assert list(arrays) == ["conv"]
        assert arrays["conv"].shape == (4, 16, 16)
        assert arrays["conv"].dtype == np.float32
    assert convscope(*command).returncode == 0
    assert (tmp_path / "maps/y/a.png.tiny.conv.png").exists()


def test_pictures_that_cannot_be_saved_fail_their_images(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/red.png.tiny.conv.png").mkdir()
    options = ("--feature-maps", "conv", "--save", tmp_path / "maps", "-o", tmp_path / "out.csv")
    done = convscope("classify", photos["red"], photos["blue"], "--model", "tiny", *options)
    assert done.returncode == 2
    assert f"error: {photos['red']}: the pictures can't be saved" in done.stderr
    assert [row[1] for row in read(tmp_path / "out.csv")[1]] == ["blue"]


def test_pictures_of_several_images_are_counted(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    folder = tmp_path / "maps\x1b[31m\n"
    options = ("--model", "tiny", "--feature-maps", "all", "--save", folder)
    one = convscope("classify", photos["red"], *options)
    shown = rf"{tmp_path}/maps\x1b[31m\n"
    assert f"saved {shown}/red.png.tiny.conv.png" in one.stdout.splitlines()
    assert "saved" not in one.stderr
    several = convscope("classify", *photos.values(), *options)
    assert "saved" not in several.stdout
    assert f"saved 3 files in {shown}" in several.stderr.splitlines()
    assert "\x1b" not in one.stdout + several.stderr


def test_quiet_prints_no_table_if_pictures_are_saved(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    both, model = (photos["red"], photos["blue"]), ("--model", "tiny", "--quiet")
    maps = convscope("classify", *both, *model, "--feature-maps", "all", "--save", tmp_path / "a")
    heat = convscope("explain", *both, *model, "--save", tmp_path / "b")
    file = convscope("classify", *both, *model, "-o", tmp_path / "out.csv")
    for done in (maps, heat, file):
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    table = convscope("classify", *both, *model)
    assert (table.returncode, table.stderr) == (0, "")
    assert "red" in table.stdout
    assert " ms" not in table.stdout
    assert all(line == line.rstrip() for line in table.stdout.splitlines())


def test_a_complete_markdown_file_is_not_continued(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    out = tmp_path / "out.md"
    command = ("classify", photos["red"], "--model", "tiny", "-o", out)
    assert convscope(*command).returncode == 0
    content = out.read_text()
    done = convscope(*command, "--resume")
    assert done.returncode == 64
    expected = "is complete, and a complete Markdown file can't be continued; add --overwrite"
    assert expected in " ".join(done.stderr.split())
    assert out.read_text() == content
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("suffix", [".csv", ".json", PARQUET])
def test_a_rejected_resume_leaves_no_file(
    convscope: Command, photos: Photos, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    out.write_text("something else")
    command = ("classify", photos["red"], "--model", "tiny", "-o", out)
    assert convscope(*command, "--resume").returncode == 1
    assert list(tmp_path.iterdir()) == [out]


def test_tables_have_the_paths_below_the_folder(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    for name in ("a/1.png", "a/b/2.png", "c/3.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photos["red"].read_bytes())
    options = ("--model", "tiny", "--top-k", "1")
    done = convscope("classify", "-r", tmp_path / "photos", *options)
    names = [line.split()[0] for line in done.stdout.splitlines() if ".png" in line]
    assert names == ["a/1.png", "a/b/2.png", "c/3.png"]
    folders = (tmp_path / "photos/a", tmp_path / "photos/c")
    done = convscope("classify", "-r", *folders, photos["blue"], *options)
    names = [line.split()[0] for line in done.stdout.splitlines() if ".png" in line]
    assert names == ["1.png", "b/2.png", "3.png", "blue.png"]
