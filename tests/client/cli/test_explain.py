"""`convscope explain`, as a user or a script runs it."""

from pathlib import Path

import pytest
from PIL import Image
from support.commands import Command
from support.server import ServerProcess

pytestmark = pytest.mark.one_transport("shows results in a terminal")

Photos = dict[str, Path]


@pytest.fixture
def convscope(explained_server: ServerProcess) -> Command:
    return Command(explained_server.target)


def test_the_two_best_classes_are_explained_and_contrasted(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "folder"
    done = convscope("explain", photos["red"], "--model", "tiny", "--save", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny v1 on cpu, explained by grad-cam" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["rather", "than", rows[6][0]] == rows[8][:3]
    assert rows[5][:2] == ["red.png", "red"]
    assert rows[5][-1].endswith("%)")
    assert "--method occlusion" not in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if "saved" not in line)
    second = rows[6][0]
    pictures = [
        folder / f"red.png.tiny.{name}.png" for name in ("red", second, f"red-not-{second}")
    ]
    assert [row[-1] for row in rows[-3:]] == [str(path) for path in pictures]
    assert sorted(folder.iterdir()) == sorted(pictures)
    for path in pictures:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) > 300


def test_chosen_classes_as_json(convscope: Command, photos: Photos) -> None:
    options = ("--class", "blue", "--class", "1", "--against", "red")
    red, green = convscope.json(
        "explain", photos["red"], photos["green"], "--model", "tiny", *options
    )
    for result in (red, green):
        assert [one["target"]["label"] for one in result["explanations"]] == ["blue", "green"]
        assert {one["against"]["label"] for one in result["explanations"]} == {"red"}
    one = red["explanations"][0]
    assert one["method"] == "grad-cam"
    assert one["logit"] < 0
    assert sum(map(sum, one["heat"])) + one["remainder"] == pytest.approx(one["logit"], abs=1e-3)
    assert red["crop"]["image_width"] == 40


def test_a_model_without_heat_is_explained_by_occlusion(
    convscope: Command, photos: Photos, tmp_path: Path
) -> None:
    options = ("--cells", "3", "--top", "1", "--no-contrast", "--save", tmp_path)
    (result,) = convscope.json("explain", photos["red"], "--model", "plain", *options)
    (one,) = result["explanations"]
    assert (one["method"], len(one["heat"])) == ("occlusion", 3)
    assert result["saved"] == [str(tmp_path / "red.png.plain.red.occlusion.png")]


def test_the_best_class_is_contrasted_with_a_class(convscope: Command, photos: Photos) -> None:
    (result,) = convscope.json("explain", photos["red"], "--model", "tiny", "--against", "blue")
    (one,) = result["explanations"]
    assert (one["target"]["label"], one["against"]["label"]) == ("red", "blue")


def test_eigen_cam_is_drawn_once(convscope: Command, photos: Photos, tmp_path: Path) -> None:
    options = ("--method", "eigen-cam", "--save", tmp_path)
    done = convscope("explain", photos["red"], "--model", "tiny", *options)
    assert done.returncode == 0
    assert "any class" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["red.png.tiny.eigen-cam.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class", "rod"], "no class 'rod' in tiny v1; did you mean red?"),
        (["--class", "greem"], "no class 'greem' in tiny v1; did you mean green?"),
        (["--class", "blob"], "no class 'blob' in tiny v1; `convscope models tiny --json` lists"),
        (["--class", "7"], "no class 7 in tiny v1; it has the classes 0 to 2"),
        (["--method", "eigen-cam", "--against", "red"], "has no contrast"),
        (["--top", "9"], "9 explanations are selected; tiny v1 computes at most 8 for an image"),
        (["--top", "8", "--contrast"], "9 explanations are selected"),
        (["--top", "5"], "--top is 5; tiny v1 has 3 classes"),
        (["--model", "filters"], "filters v1 offers no explanations"),
    ],
)
def test_mistakes_are_explained(
    convscope: Command, photos: Photos, options: list[str], message: str
) -> None:
    done = convscope("explain", photos["red"], "--model", "tiny", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr


def test_an_unknown_method_is_wrong_usage(convscope: Command, photos: Photos) -> None:
    done = convscope("explain", photos["red"], "--model", "tiny", "--method", "gradcam")
    assert (done.returncode, done.stdout) == (64, "")
    assert "there are: grad-cam, cam" in " ".join(done.stderr.split())


def test_models_show_their_explanations(convscope: Command) -> None:
    listed = convscope("models").stdout
    assert all(len(line) <= 80 for line in listed.splitlines())
    assert {"grad-cam", "occlusion"} <= set(listed.split())
    described = convscope("models", "tiny").stdout
    assert "grad-cam, cam, eigen-cam, occlusion; heat 16 × 16 of conv" in described
