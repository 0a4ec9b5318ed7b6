"""The `convscope` command, as a user or a script runs it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.commands import Command
from support.server import ServerProcess

from convscope.client import InputInfo, ModelSummary
from convscope.client.cli.model_tables import print_models
from convscope.v1 import inference_pb2 as pb

pytestmark = pytest.mark.one_transport("shows results in a terminal")

Photos = dict[str, Path]


@pytest.fixture
def convscope(tiny_server: ServerProcess) -> Command:
    return Command(tiny_server.target)


def test_classify_prints_a_table(convscope: Command, photos: Photos) -> None:
    done = convscope("classify", photos["red"], "--model", "tiny")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "tiny v1 on cpu" in done.stdout
    rows = [line for line in done.stdout.splitlines() if "█" in line]
    assert "red" in rows[0]
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_classify_prints_one_table_for_several_images(convscope: Command, photos: Photos) -> None:
    done = convscope("classify", *photos.values(), "--model", "tiny", "--top-k", "1")
    assert done.returncode == 0
    assert done.stdout.count("probability") == 1
    assert "mean of 3 images" in done.stdout
    labels = [
        label for line in done.stdout.splitlines() for label in line.split() if label in photos
    ]
    assert labels == list(photos)


def test_classify_as_json(convscope: Command, photos: Photos) -> None:
    (result,) = convscope.json("classify", photos["blue"], "--model", "tiny", "--top-k", "2")
    assert result["image"] == str(photos["blue"])
    assert (result["model"], result["version"], result["provider"]) == ("tiny", 1, "cpu")
    assert [set(score) for score in result["classes"]] == [{"index", "label", "probability"}] * 2
    assert result["classes"][0]["label"] == "blue"
    assert set(result["stage_seconds"]) == {"decode", "queue", "infer", "encode"}
    assert (result["saved"], result["feature_maps"]) == ([], {})


def test_json_has_a_line_for_each_image_in_order(convscope: Command, photos: Photos) -> None:
    images = [*photos.values()] * 4
    results = convscope.json("classify", *images, "--model", "tiny")
    assert [result["image"] for result in results] == [str(image) for image in images]


def test_min_probability_leaves_classes_out(convscope: Command, photos: Photos) -> None:
    options = ("--model", "tiny", "--min-probability", "1")
    assert convscope.json("classify", photos["red"], *options)[0]["classes"] == []
    assert "no class" in convscope("classify", photos["red"], *options).stdout


def test_feature_maps_are_described(convscope: Command, photos: Photos) -> None:
    command = ("classify", photos["green"], "--model", "tiny", "--feature-maps", "conv")
    done = convscope(*command)
    (row,) = (line for line in done.stdout.splitlines() if " conv " in line)
    assert "4 × 16 × 16" in row
    assert "1, " in row  # channel 1 follows green
    (described,) = convscope.json(*command)[0]["feature_maps"].values()
    assert (described["name"], described["shape"]) == ("conv", [4, 16, 16])


def test_feature_maps_are_saved_as_pictures(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "folder"
    (result,) = convscope.json(
        "classify", photos["red"], "--model", "tiny", "--feature-maps", "conv", "--save", folder
    )
    picture = folder / "red.png.tiny.conv.png"
    assert result["saved"] == [str(picture)]
    assert list(folder.iterdir()) == [picture]
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert min(image.size) > 200


def test_a_picture_shows_the_part_that_the_model_sees(convscope: Command, tmp_path: Path) -> None:
    photo = Image.new("RGB", (40, 30), "red")
    photo.paste("blue", (8, 3, 32, 27))  # the center crop: 16 of 20 rows, 16 of 26 columns
    photo.save(tmp_path / "framed.png")
    options = ("--model", "tiny", "--feature-maps", "conv", "--save", tmp_path)
    (result,) = convscope.json("classify", tmp_path / "framed.png", *options)
    with Image.open(result["saved"][0]) as sheet:
        red, green, blue = np.moveaxis(np.asarray(sheet, np.int16), 2, 0)
    assert ((blue > 200) & (red < 50)).sum() > 1000
    assert ((red > 150) & (green < 60)).sum() == 0


def test_images_of_the_same_name_keep_their_pictures(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    for name in ("a/red.png", "b/red.png", "b/red.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photos["red"].read_bytes())
    options = ("--model", "tiny", "--feature-maps", "conv,conv", "--save", tmp_path / "out")

    def saved(*images: str, kind: str = "png") -> dict[str, str]:
        results = convscope.json(
            "classify",
            "-r",
            *(tmp_path / image for image in images),
            *options,
            "--save-format",
            kind,
        )
        return {
            str(Path(result["image"]).relative_to(tmp_path)): str(
                Path(result["saved"][0]).relative_to(tmp_path / "out")
            )
            for result in results
        }

    expected = {
        "a/red.png": "a/red.png.tiny.conv.png",
        "b/red.png": "b/red.png.tiny.conv.png",
    }
    assert saved("a/red.png", "b/red.png") == saved("b/red.png", "a/red.png") == expected
    both = expected | {"b/red.jpg": "b/red.jpg.tiny.conv.png"}
    assert saved("a", "b") == saved("b", "a") == both
    assert saved("b") == {
        "b/red.jpg": "red.jpg.tiny.conv.png",
        "b/red.png": "red.png.tiny.conv.png",
    }
    assert saved("b/red.jpg") == {"b/red.jpg": "red.jpg.tiny.conv.png"}
    # A later run replaces the pictures of the same image, and no others.
    for _ in range(2):
        assert saved("a/red.png") == {"a/red.png": "red-2.png.tiny.conv.png"}
        assert saved("a/red.png", kind="npz") == {"a/red.png": "red-2.png.tiny.npz"}
        assert saved("b/red.png", kind="npz") == {"b/red.png": "red.png.tiny.npz"}


def test_a_bad_image_does_not_stop_the_others(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(photos["red"].read_bytes()[:60])
    images = [photos["red"], tmp_path / "missing.png", damaged, photos["blue"]]
    done = convscope("classify", *images, "--model", "tiny", "--json")
    assert done.returncode == 2
    first, missing, bad, last = map(json.loads, done.stdout.splitlines())
    assert [r["classes"][0]["label"] for r in (first, last)] == ["red", "blue"]
    for result, path in ((missing, images[1]), (bad, damaged)):
        assert set(result) == {"image", "error"}
        assert result["image"] == str(path)
        assert result["error"]["code"] == "INVALID_ARGUMENT"
        assert str(path) in done.stderr
    table = convscope("classify", *images, "--model", "tiny")
    assert table.returncode == 2
    assert "2 images classified, 2 failed in " in table.stderr
    assert photos["blue"].name in table.stdout
    assert table.stderr.count("error:") == 2


def test_a_failed_call_is_reported_once(convscope: Command, photos: Photos) -> None:
    done = convscope("classify", *photos.values(), "--model", "huge", "--json")
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert "this server has: signal, tiny" in done.stderr
    codes = [json.loads(line)["error"]["code"] for line in done.stdout.splitlines()]
    assert codes == ["NOT_FOUND"] * 3


def test_an_unknown_feature_map_is_reported_once(convscope: Command, photos: Photos) -> None:
    options = ("--model", "tiny", "--feature-maps", "layer9")
    done = convscope("classify", *photos.values(), *options)
    assert done.returncode == 1
    assert done.stderr == "error: no feature map 'layer9' in tiny v1; it has: conv\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("models", "--timeout", "0.3"), 1, "within 0.3 s; allow more with --timeout"),
        (("models", "--timeout", "inf"), 64, "--timeout is inf; give a positive, finite number"),
    ],
)
def test_timeout_is_named_as_the_option(
    arguments: tuple[str, ...], status: int, message: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = Command(f"127.0.0.1:{silent.getsockname()[1]}")(*arguments)
    assert done.returncode == status
    assert message in " ".join(done.stderr.split())


def test_no_server_is_an_error_with_its_address() -> None:
    done = Command("localhost:1")("models")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no server answers at localhost:1" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["models", "--version", "1"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_with_64(convscope: Command, arguments: list[str]) -> None:
    done = convscope(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert "Usage:" in done.stderr


@pytest.mark.parametrize("command", ["classify", "explain"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png"],
        ["--model", "tiny"],
        ["a.png", "--model", "tiny", "--version", "1", "--alias", "b"],
        ["a.png", "--model", "tiny", "--server", "localhost"],
        ["a.png", "--model", "tiny", "--nonsense"],
        ["-", "-", "--model", "tiny"],
        ["-", "--from-file", "-", "--model", "tiny"],
        ["a.png", "-0", "--model", "tiny"],
        ["--from-file", "missing.txt", "--model", "tiny"],
    ],
)
def test_wrong_usage_differs_from_a_partial_failure(
    convscope: Command, command: str, arguments: list[str]
) -> None:
    done = convscope(command, *arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert "Usage:" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--top-k", "0"],
        ["--save", "somewhere"],
        ["--json", "--format", "csv"],
        ["--resume"],
        ["--overwrite"],
        ["--output", "missing/out.csv"],
        ["--output", "out.xlsx"],
        ["--output", "out.csv", "--resume", "--overwrite"],
        ["--output", "out.csv", "--format", "table"],
    ],
)
def test_wrong_options_of_classify(arguments: list[str]) -> None:
    done = Command("localhost:1")("classify", "a.png", "--model", "tiny", *arguments)
    assert (done.returncode, done.stdout) == (64, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "-o", "zz.csv"], "--json and --output 'zz.csv' contradict each other"),
        (["--format", "csv", "-o", "a.json"], "--format csv and --output 'a.json' contradict"),
        (["--layout", "long"], "--layout long is for CSV, Parquet and Markdown; a table has no"),
        (["--json", "--layout", "long"], "json has no layout"),
        (["blocks.1", "--feature-maps", "blocks.0"], "--feature-maps blocks.0,blocks.1"),
        (["--resume"], "error: --resume needs --output FILE"),
    ],
)
def test_options_without_effect_or_companion_are_named(arguments: list[str], message: str) -> None:
    done = Command("localhost:1")("classify", __file__, "--model", "tiny", *arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize("command", ["classify", "explain"])
def test_arguments_without_images_are_reported_without_a_server(
    tmp_path: Path, command: str
) -> None:
    convscope = Command("localhost:1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "list").write_text("nowhere.jpg\n")
    for arguments, message in {
        (tmp_path / "a.png",): f"error: there is no image '{tmp_path}/a.png'; check the path",
        (tmp_path,): f"error: '{tmp_path}' is a folder; add -r to use the images in it",
        (tmp_path / "*.jpg",): f"error: no image matches '{tmp_path}/*.jpg'",
        ("-r", tmp_path / "empty"): f"error: no image in the folder '{tmp_path}/empty'",
        ("--from-file", tmp_path / "list"): "error: there is no image 'nowhere.jpg'",
    }.items():
        done = convscope(command, *arguments, "--model", "tiny")
        assert (done.returncode, done.stdout) == (64, "")
        assert done.stderr.startswith(message)
    some = convscope(command, tmp_path / "a.png", __file__, "--model", "tiny")
    assert some.returncode == 1
    assert "no server answers" in some.stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["classify", "a.png"], "`convscope models` lists the models"),
        (["admin", "status"], "it is the --admin-address that the server was started with"),
    ],
)
def test_missing_option_is_explained(convscope: Command, arguments: list[str], hint: str) -> None:
    done = convscope(*arguments)
    assert done.returncode == 64
    assert hint in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "a_network_with_a_name_of_many_words"])
@pytest.mark.parametrize("fallback_from", ["", "openvino"])
def test_table_of_models_fits_a_terminal(
    name: str, fallback_from: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = InputInfo("images", "image", "uint8", (224, 224, 3))
    summary = ModelSummary(
        model=name,
        version=1,
        aliases=("champion", "challenger"),
        is_default=True,
        task="classification",
        input=shape,
        num_classes=1000,
        feature_maps=("stem",),
        provider="cpu",
        precision="fp32",
        fallback_from=fallback_from,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        print_models([summary])
    rows = capsys.readouterr().out.splitlines()
    assert all(len(row) <= 80 for row in rows)
    words = " ".join(rows).split()
    assert {"v1", "(default)", "champion", "224×224×3", "1,000", "fp32"} <= set(words)


def test_models_are_listed(convscope: Command) -> None:
    done = convscope("models")
    assert done.returncode == 0
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert [line.split()[0] for line in done.stdout.splitlines()[3:] if line[1:2].strip()] == [
        "signal",
        "tiny",
    ]
    assert "cpu, fp32" in done.stdout
    assert done.stdout.count("v1 (default)") == 2
    assert [summary["model"] for summary in convscope.json("models")] == ["signal", "tiny"]


def test_a_model_is_described(convscope: Command) -> None:
    done = convscope("models", "tiny", "--version", "1")
    assert done.returncode == 0
    assert "3: red, green, blue" in done.stdout
    assert "4 × 16 × 16" in done.stdout
    (info,) = convscope.json("models", "tiny")
    assert info["labels"] == ["red", "green", "blue"]
    assert info["feature_maps"][0]["name"] == "conv"
    assert info["provenance"]["created_at"] is None
    assert convscope("models", "huge").returncode == 1


def test_names_with_brackets_are_not_markup(convscope: Command, tmp_path: Path) -> None:
    path = tmp_path / "[bold]x[/].png"
    done = convscope("classify", path, "--model", "tiny")
    assert "[bold]x[/].png" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_json_is_not_mixed_with_the_progress_bar(
    tiny_server: ServerProcess, photos: Photos
) -> None:
    import pty

    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "convscope.client", "classify"),
                *map(str, photos.values()),
                *("--model", "tiny", "--server", tiny_server.target, "--json"),
            ],
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            check=True,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(theirs)
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 3
    assert "Classifying" in shown
    assert "probability" not in shown


def test_models_shows_how_a_version_is_run(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.execution = pb.Execution(
        runners=2, threads=1, lone_threads=2, max_batch=8, reason="measured: 257 images/s"
    )
    done = Command(target)("models", "m")
    assert "2 runners of 1 thread, alone 2 threads; batches of up to 8 images" in done.stdout
    assert "measured: 257 images/s" in done.stdout
    (model,) = Command(target).json("models", "m")
    assert model["execution"] == {
        "runners": 2,
        "threads": 1,
        "lone_threads": 2,
        "max_batch": 8,
        "reason": "measured: 257 images/s",
        "inline": False,
    }


def test_models_omits_an_unknown_execution(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    assert "execution" not in Command(target)("models", "m").stdout
    assert Command(target).json("models", "m")[0]["execution"] is None
    servicer.execution = pb.Execution(runners=0, max_batch=16, reason="measured")
    shown = Command(target)("models", "m").stdout
    assert "runs on the event loop itself; batches of up to 16" in shown
    servicer.execution = pb.Execution(runners=1, threads=1, lone_threads=1, inline=True)
    shown = Command(target)("models", "m").stdout
    assert "1 runner of 1 thread, short batches on the event loop" in shown
    servicer.execution = pb.Execution(runners=1, max_batch=16, reason="measured")
    shown = Command(target)("models", "m").stdout
    assert "reason" in shown
