"""The command `evaluate` on real bundles, datasets and servers."""

import html
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.colors import write_colors
from support.server import ServerProcess
from support.tiny import SIGNAL_LENGTH, write_tiny
from typer.testing import CliRunner

from convscope.exporter.bundles.reader import open_bundle, open_unexplained, preprocess
from convscope.exporter.cli import app
from convscope.exporter.datasets import Split
from convscope.exporter.evaluation.inputs import LabeledInputs
from convscope.exporter.evaluation.metrics import measure
from convscope.exporter.evaluation.predictions import Predictions
from convscope.exporter.evaluation.report import Evaluation, report_page
from convscope.v1 import manifest_pb2 as pb

pytestmark = pytest.mark.one_transport("evaluates networks")

COUNTS = {"red": 8, "green": 6, "blue": 5}


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """Nineteen pictures, of which two are in the wrong folder."""
    write_colors(tmp_path / "colors", COUNTS, {"red": "blue", "green": "red"})
    return tmp_path / "colors"


@pytest.fixture
def bundle(tiny_repository: Path) -> str:
    return str(tiny_repository / "tiny/1")


def evaluate(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    return done.exit_code, done.output


def figures(*arguments: str) -> dict[str, Any]:
    code, output = evaluate(*arguments, "--json")
    assert code == 0, output
    found: dict[str, Any] = json.loads(output)
    return found


def failure(*arguments: str) -> str:
    code, output = evaluate(*arguments)
    assert code == 1, output
    return output


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def tiles(page: str) -> dict[str, str]:
    return dict(re.findall(r'<b data-figure="(\w+)">([^<]+)</b>', page))


def recomputed(bundle: str, folder: Path) -> tuple[float, dict[str, float]]:
    """Return the accuracy and the recall of each class, computed with numpy alone."""
    opened = open_bundle(Path(bundle))
    session = open_unexplained(opened)
    right: dict[str, list[bool]] = {}
    for path in sorted(folder.rglob("*.png")):
        pixels = preprocess(opened.manifest, path.read_bytes())
        (probabilities,) = session.run(["probabilities"], {"images": pixels[np.newaxis]})
        best = probabilities.argmax()
        right.setdefault(path.parent.name, []).append(
            opened.manifest.labels[best] == path.parent.name
        )
    every = [one for found in right.values() for one in found]
    return float(np.mean(every)), {name: float(np.mean(each)) for name, each in right.items()}


def test_the_figures_of_the_page_equal_recomputed_ones(
    bundle: str, colors: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    code, output = evaluate(bundle, "--dataset", f"folder:{colors}", "--output", str(path))
    assert code == 0, output
    page = path.read_text()
    accuracy, recall = recomputed(bundle, colors)
    assert accuracy == pytest.approx(17 / 19)
    data = embedded(page)
    assert data["accuracy"] == pytest.approx(accuracy)
    assert {one["label"]: one["recall"] for one in data["classes"]} == pytest.approx(recall)
    assert tiles(page)["accuracy"] == f"{accuracy:.1%}"
    assert tiles(page)["balanced_accuracy"] == f"{np.mean(list(recall.values())):.1%}"
    for name, share in recall.items():
        row = page.partition(f'<tr data-class="{name}">')[2].partition("</tr>")[0]
        assert f"{share:.1%}" in row
    assert f"accuracy           {accuracy:.4f}" in output
    assert data == figures(bundle, "--dataset", f"folder:{colors}")


def test_the_page_shows_the_preprocessing_and_accepted_nonfinite_results(
    tmp_path: Path, colors: Path
) -> None:
    directory = write_tiny(tmp_path / "models")
    page = tmp_path / "report.html"
    options = ("--dataset", f"folder:{colors}", "--output", str(page))
    line = "shorter edge 20, center crop 16, "
    code, output = evaluate(str(directory), *options)
    assert code == 0, output
    assert f'data-figure="preprocessing">{line}RGB</span>' in page.read_text()
    assert "non-finite" not in page.read_text()
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["preprocessing"]["reverses_channels"] = True
    recorded = {"nonfinite_results": True, "nonfinite_inputs": ["a black image"]}
    path.write_text(json.dumps(manifest | recorded))
    code, output = evaluate(str(directory), *options)
    assert code == 0, output
    assert f'data-figure="preprocessing">{line}BGR</span>' in page.read_text()
    assert "non-finite results: NaN or infinity for a black image" in page.read_text()


def page_of(
    labels: Sequence[str],
    truth: NDArray[np.int64],
    best: NDArray[np.int64],
    confidence: float = 1.0,
) -> str:
    """Return the report of a model with the same confidence in every class."""
    rest = (1 - confidence) / (len(labels) - 1)
    probabilities = np.full((len(best), len(labels)), rest, np.float32)
    probabilities[np.arange(len(best)), best] = confidence
    manifest = pb.ModelManifest(model="m", version=1, labels=labels)
    manifest.input.kind = pb.INPUT_KIND_TENSOR
    images = Split(np.zeros((len(truth), 8, 8, 3), np.uint8), truth)
    inputs = LabeledInputs("npz:images", "test split", tuple(labels), (images,))
    names = tuple(map(str, range(len(truth))))
    indices = np.arange(len(truth))
    found = Predictions(manifest, "NumPy", indices, names, truth, probabilities, ())
    return report_page(Evaluation(inputs, found, measure(probabilities, truth, labels)))


def test_long_class_names_are_numbered_in_the_confusion_matrix() -> None:
    labels = [f"a class with a long name that ends in {number}" for number in range(5)]
    truth = np.arange(20) % 5
    page = page_of(labels, truth, (truth + truth % 2) % 5)
    matrix = page.partition('<table class="matrix')[2].partition("</table>")[0]
    assert re.findall(r"<span>(.*?)</span>", matrix) == ["1", "2", "3", "4", "5"]
    assert f"<b>5</b>{labels[4]}</th>" in matrix


def test_a_report_without_errors_has_no_negative_zero() -> None:
    truth = np.arange(20) % 2
    page = page_of(["no defect", "defect"], truth, truth)
    assert tiles(page)["log_loss"] == "0.000"
    assert 'id="errors"' not in page


def test_the_worst_errors_are_shown_with_their_pictures(
    bundle: str, colors: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    evaluate(bundle, "--dataset", f"folder:{colors}", "--output", str(path))
    page = path.read_text()
    found = embedded(page)["worst_errors"]
    assert {(one["name"], one["true"], one["predicted"]) for one in found} == {
        ("red/0.png", "red", "blue"),
        ("green/0.png", "green", "red"),
    }
    assert found[0]["confidence"] >= found[1]["confidence"]
    assert page.count('<img src="data:image/') == 2
    # Nothing is loaded from elsewhere.
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]+"', page)
    assert "<script src" not in page


def test_the_curves_of_a_run_are_shown(bundle: str, colors: Path, tmp_path: Path) -> None:
    header = "epoch,train_loss,val_loss,val_accuracy,learning_rate,seconds\n"
    (tmp_path / "metrics.csv").write_text(f"{header}1,0.9,0.8,0.5,0.1,2\n2,0.5,0.6,0.7,0.1,2\n")
    (tmp_path / "run.json").write_text('{"model": "tiny", "published_version": 1, "best_epoch": 2}')
    path = tmp_path / "report.html"
    arguments = (bundle, "--dataset", f"folder:{colors}", "--output", str(path))
    evaluate(*arguments)
    assert "<h2>Training</h2>" not in path.read_text()
    evaluate(*arguments, "--run", str(tmp_path))
    page = path.read_text()
    assert "<h2>Training</h2>" in page
    assert "epoch 2, whose weights were published" in page


def test_a_server_gets_the_figures_of_its_bundle(
    bundle: str, colors: Path, tiny_server: ServerProcess
) -> None:
    dataset = ("--dataset", f"folder:{colors}")
    (colors / "red/broken.png").write_bytes(b"no picture")
    served = figures("--server", tiny_server.target, "--model", "tiny", *dataset)
    own = figures(bundle, *dataset)
    assert tiny_server.target in served.pop("runs_on")
    own.pop("runs_on")
    assert [one["name"] for one in served.pop("skipped")] == ["red/broken.png"]
    assert [one["name"] for one in own.pop("skipped")] == ["red/broken.png"]
    served_errors, own_errors = served.pop("worst_errors"), own.pop("worst_errors")
    assert [one["name"] for one in served_errors] == [one["name"] for one in own_errors]
    served_bins, own_bins = served.pop("bins"), own.pop("bins")
    assert [one["inputs"] for one in served_bins] == [one["inputs"] for one in own_bins]
    for name, value in own.items():
        expected = pytest.approx(value, abs=1e-4) if isinstance(value, float) else value
        assert served[name] == expected, name


def test_signals_are_evaluated_by_a_bundle_and_a_server(
    tiny_repository: Path, tiny_server: ServerProcess, tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    signals = random.normal(size=(40, 1, SIGNAL_LENGTH)).astype(np.float32)
    manifest = open_bundle(tiny_repository / "signal/1").manifest
    np.savez(
        tmp_path / "signals.npz",
        classes=np.array(list(manifest.labels)),
        x_train=signals,
        y_train=random.integers(0, 2, 40),
    )
    dataset = ("--dataset", f"npz:{tmp_path / 'signals.npz'}")
    own = figures(str(tiny_repository / "signal/1"), *dataset)
    served = figures("--server", tiny_server.target, "--model", "signal", *dataset)
    assert own["inputs"] == served["inputs"] == 40
    assert own["confusions"] == served["confusions"]
    page = tmp_path / "report.html"
    code, _ = evaluate(str(tiny_repository / "signal/1"), *dataset, "--output", str(page))
    assert code == 0
    assert "no picture" in page.read_text()


def test_two_bundles_are_compared(tiny_repository: Path, colors: Path, tmp_path: Path) -> None:
    def swap_labels(manifest: pb.ModelManifest) -> None:
        manifest.labels[:] = ["red", "blue", "green"]

    write_tiny(tmp_path / "models", version=2, alter_manifest=swap_labels)
    a, b = str(tiny_repository / "tiny/1"), str(tmp_path / "models/tiny/2")
    path = tmp_path / "comparison.html"
    arguments = (a, "--compare", b, "--dataset", f"folder:{colors}")
    code, output = evaluate(*arguments, "--output", str(path))
    assert code == 0, output
    found = figures(*arguments)
    assert found["a"]["accuracy"] == pytest.approx(17 / 19)
    assert found["b"]["accuracy"] == pytest.approx(7 / 19)
    assert found["figures"]["accuracy"]["difference"] == pytest.approx(-10 / 19)
    assert {one["label"]: one["difference"] for one in found["classes"]} == pytest.approx(
        {"green": -5 / 6, "blue": -1.0}
    )
    assert (found["only_a_right"], found["only_b_right"]) == (10, 0)
    assert found["chance"] == pytest.approx(2 / 2**10)
    assert ("blue/0.png", "blue", "green", "a") in {
        (one["name"], one["a"], one["b"], one["right"]) for one in found["differences"]
    }
    page = path.read_text()
    assert embedded(page) == found
    assert "Only tiny v1 is right: 10" in html.unescape(page)
    assert "hardly chance (exact McNemar test, p = 0.002)" in page
    assert "hardly chance (exact McNemar test, p = 0.002)" in output


def test_a_bundle_differs_in_nothing_from_itself(bundle: str, colors: Path) -> None:
    found = figures(bundle, "--compare", bundle, "--dataset", f"folder:{colors}")
    assert found["differences"] == found["classes"] == []
    assert found["chance"] == 1.0


def test_a_label_without_inputs_is_named(bundle: str, tmp_path: Path) -> None:
    write_colors(tmp_path / "two", {"red": 3, "green": 2}, {})
    path = tmp_path / "report.html"
    evaluate(bundle, "--dataset", f"folder:{tmp_path / 'two'}", "--output", str(path))
    page = path.read_text()
    blue = next(one for one in embedded(page)["classes"] if one["label"] == "blue")
    assert (blue["inputs"], blue["recall"], blue["precision"]) == (0, None, None)
    assert "1 class has no inputs: blue." in page
    assert "All 5 inputs are classified correctly." in page


def test_classes_match_labels_without_regard_to_case(bundle: str, tmp_path: Path) -> None:
    write_colors(tmp_path / "colors", {"red": 2, "green": 2}, {})
    (tmp_path / "colors/red").rename(tmp_path / "colors/Red")
    assert figures(bundle, "--dataset", f"folder:{tmp_path / 'colors'}")["accuracy"] == 1.0


def test_two_classes_of_the_same_label_are_an_error(bundle: str, colors: Path) -> None:
    (colors / "green").rename(colors / "Red")
    message = failure(bundle, "--dataset", f"folder:{colors}")
    assert "classes 'Red' and 'red' are the same label of tiny v1, 'red'" in message


def test_a_class_that_is_no_label_is_an_error(bundle: str, colors: Path) -> None:
    (colors / "blue").rename(colors / "violet")
    message = failure(bundle, "--dataset", f"folder:{colors}")
    assert "class 'violet' is not a label of tiny v1; its 3 labels are: red, green, blue" in (
        message
    )


def test_names_are_escaped(bundle: str, colors: Path, tmp_path: Path) -> None:
    (colors / "red/0.png").rename(colors / "red/<script>alert(1)<!--.png")
    path = tmp_path / "report.html"
    evaluate(bundle, "--dataset", f"folder:{colors}", "--output", str(path))
    page = path.read_text()
    assert "<script>alert" not in page
    assert "red/&lt;script&gt;alert(1)" in page
    assert embedded(page)["worst_errors"]


def test_an_empty_dataset_is_an_error(bundle: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no folders with images" in failure(
        bundle, "--dataset", f"folder:{tmp_path / 'empty'}"
    )


def test_a_dataset_without_a_readable_image_is_an_error(bundle: str, tmp_path: Path) -> None:
    for name in ("red", "green"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "0.png").write_bytes(b"no picture")
    message = failure(bundle, "--dataset", f"folder:{tmp_path / 'broken'}")
    assert "has a prediction; green/0.png: can't be read as an image: it is not" in message


def test_the_split_follows_the_training(tiny_repository: Path, tmp_path: Path) -> None:
    write_colors(tmp_path / "colors", {"red": 10, "green": 10}, {})
    dataset = ("--dataset", f"folder:{tmp_path / 'colors'}")

    def trained(manifest: pb.ModelManifest) -> None:
        manifest.provenance.dataset = "imagenet-1k, folder:colors"

    write_tiny(tmp_path / "models", alter_manifest=trained)
    own = str(tmp_path / "models/tiny/1")
    other = str(tiny_repository / "tiny/1")
    assert figures(other, *dataset)["inputs"] == 20
    assert figures(other, *dataset, "--seed", "0")["split"] == "test split"
    # The training inputs are left out.
    found = figures(own, *dataset)
    assert (found["inputs"], found["split"]) == (4, "test split")
    assert figures(own, *dataset, "--split", "all")["inputs"] == 20
    assert figures(own, *dataset, "--split", "train")["inputs"] == 16
    # Neither has the other model seen them.
    assert figures(other, "--compare", own, *dataset)["a"]["inputs"] == 4


def test_the_seed_of_the_training_splits_its_dataset(tmp_path: Path) -> None:
    write_colors(tmp_path / "colors", {"red": 20, "green": 20}, {})
    dataset = ("--dataset", f"folder:{tmp_path / 'colors'}")
    for version in (1, 2):

        def trained(manifest: pb.ModelManifest, seed: int = version) -> None:
            manifest.labels[:] = ["green", "red", "blue"]  # all of its answers are wrong
            manifest.provenance.dataset = "folder:colors"
            manifest.provenance.weights = f"trained for 3 epochs, seed {seed}"

        write_tiny(tmp_path / "models", version=version, alter_manifest=trained)
    bundles = [str(tmp_path / "models/tiny" / version) for version in ("1", "2")]
    first, second = ({e["name"] for e in figures(one, *dataset)["worst_errors"]} for one in bundles)
    assert len(first) == len(second) == 8
    assert first != second
    again = {e["name"] for e in figures(bundles[0], *dataset, "--seed", "2")["worst_errors"]}
    assert again == second
    message = failure(bundles[0], "--compare", bundles[1], *dataset)
    assert "trained on different parts" in message


def test_a_dataset_with_its_own_test_split(bundle: str, tmp_path: Path) -> None:
    write_colors(tmp_path / "colors/train", {"red": 3, "green": 3}, {})
    write_colors(tmp_path / "colors/test", {"red": 2, "green": 2}, {})
    assert figures(bundle, "--dataset", f"folder:{tmp_path / 'colors'}")["inputs"] == 4


def test_a_validation_split_is_no_test_split(bundle: str, tmp_path: Path) -> None:
    write_colors(tmp_path / "colors/train", {"red": 3, "green": 3}, {})
    write_colors(tmp_path / "colors/val", {"red": 2, "green": 2}, {})
    found = figures(bundle, "--dataset", f"folder:{tmp_path / 'colors'}")
    assert (found["split"], found["inputs"]) == ("all inputs", 10)


def test_mere_numbers_as_labels_are_named(tmp_path: Path, colors: Path, bundle: str) -> None:
    def numbered(manifest: pb.ModelManifest) -> None:
        manifest.labels[:] = ["0", "1", "2"]

    write_tiny(tmp_path / "models", version=2, alter_manifest=numbered)
    other = str(tmp_path / "models/tiny/2")
    message = failure(bundle, "--compare", other, "--dataset", f"folder:{colors}")
    assert "is not a label of tiny v2" in message
    assert "mere numbers, so publish the model again with --labels" in message


def test_a_missing_version_is_an_error_with_those_that_exist(tmp_path: Path, colors: Path) -> None:
    for version in (1, 2):
        write_tiny(tmp_path / "models", version=version)
    dataset = ("--dataset", f"folder:{colors}")
    model = str(tmp_path / "models/tiny")
    assert "/9'; tiny has versions 1, 2" in failure(f"{model}/9", *dataset)
    assert f"it has versions 1, 2; write {model}/2" in failure(model, *dataset)
    message = failure(str(tmp_path / "nothing/tiny/1"), *dataset)
    assert "has no versions" in message


def test_a_path_without_its_kind_is_an_error_with_the_cure(bundle: str, colors: Path) -> None:
    assert f"write folder:{colors}" in failure(bundle, "--dataset", str(colors))


def test_a_second_dataset_has_a_report_of_its_own(
    bundle: str, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(colors, tmp_path / "more colors")
    for name in ("colors", "more colors"):
        code, output = evaluate(bundle, "--dataset", f"folder:{name}")
        assert code == 0, output
        assert "replaces" not in output
    names = {path.name for path in tmp_path.glob("*.html")}
    assert names == {"tiny-1-colors-report.html", "tiny-1-more-colors-report.html"}
    assert "which replaces an earlier file" in evaluate(bundle, "--dataset", "folder:colors")[1]


def test_skipped_inputs_are_named(bundle: str, colors: Path, tmp_path: Path) -> None:
    (colors / "red/broken.png").write_bytes(b"no picture")
    (colors / "blue/broken.png").write_bytes(b"")
    path = tmp_path / "report.html"
    code, output = evaluate(bundle, "--dataset", f"folder:{colors}", "--output", str(path))
    assert code == 0, output
    for name in ("red/broken.png", "blue/broken.png"):
        assert f"{name}: can't be read as an image: it is not an image, or it is damaged" in output
        assert name in path.read_text()
    assert "BytesIO" not in path.read_text()


def test_few_inputs_support_no_claim_about_confidence() -> None:
    labels = ["cat", "dog"]
    truth = np.arange(18) % 2
    best = truth.copy()
    best[:4] = 1 - best[:4]
    text = html.unescape(page_of(labels, truth, best, confidence=0.85))
    assert "too few to call the model overconfident" in text
    assert "The model is overconfident" not in text
    assert "calibration error is a rough estimate, because there are only 18 inputs" in text
    assert "95% interval" in text
    many = page_of(labels, np.tile(truth, 40), np.tile(best, 40), confidence=0.95)
    assert "The model is overconfident" in many
    assert "rough estimate, because there are only" not in many


def test_a_model_at_chance_level_is_a_warning(tmp_path: Path, colors: Path) -> None:
    def confused(manifest: pb.ModelManifest) -> None:
        manifest.labels[:] = ["green", "blue", "red"]

    directory = write_tiny(tmp_path / "models", alter_manifest=confused)
    path = tmp_path / "report.html"
    code, output = evaluate(str(directory), "--dataset", f"folder:{colors}", "--output", str(path))
    assert code == 0, output
    sentence = "The model is no better than always answering “red”, which is right for 42.1%"
    assert sentence in output
    assert "guessing" in output
    assert sentence in path.read_text()
    assert tiles(path.read_text())["majority_accuracy"] == "42.1%"


def test_the_report_names_its_inputs_and_its_command(
    bundle: str, colors: Path, tmp_path: Path
) -> None:
    shutil.copytree(colors, tmp_path / "copy")
    path = tmp_path / "report.html"
    digests = []
    for folder in (colors, tmp_path / "copy"):
        evaluate(bundle, "--dataset", f"folder:{folder}", "--output", str(path))
        page = html.unescape(path.read_text())
        assert f"convscope-exporter evaluate {bundle} --dataset folder:{folder}" in page
        assert f"folder:{folder}</dd>" in page
        digests.append(embedded(path.read_text())["inputs_digest"])
    assert digests[0] == digests[1]
    assert digests[0] in page


def test_an_unreachable_server_is_an_error(colors: Path) -> None:
    message = failure("--server", "127.0.0.1:1", "--model", "tiny", "--dataset", f"folder:{colors}")
    assert "127.0.0.1:1" in message
    assert "no server answers" in message
    assert "start one with convscope-server --models" in message


def test_an_unknown_model_of_a_server_is_an_error(tiny_server: ServerProcess, colors: Path) -> None:
    message = failure(
        "--server", tiny_server.target, "--model", "huge", "--dataset", f"folder:{colors}"
    )
    assert "NOT_FOUND" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "use either a BUNDLE, or --server with --model"),
        (("models/a/1", "--server", "h:1", "--model", "a"), "use either a BUNDLE"),
        (("--server", "h:1"), "belong together"),
        (("models/a/1", "--split", "half"), "is not one of"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str) -> None:
    code, output = evaluate(*arguments, "--dataset", "mnist_sample")
    assert code == 64
    assert message in " ".join(output.replace("│", " ").split())


def test_a_grayscale_picture_of_an_array_is_shown(bundle: str, tmp_path: Path) -> None:
    pixels = np.zeros((4, 12, 12), np.uint8)
    names = np.array(["red", "green"])
    np.savez(tmp_path / "gray.npz", x_train=pixels, y_train=[0, 0, 1, 1], classes=names)
    path = tmp_path / "report.html"
    code, output = evaluate(
        bundle, "--dataset", f"npz:{tmp_path / 'gray.npz'}", "--output", str(path)
    )
    assert code == 0, output
    assert '<img src="data:image/png' in path.read_text()
