import json
from pathlib import Path

import pytest
from support.alterations import flip_byte
from support.tiny import write_tiny
from typer.testing import CliRunner, Result

from convscope.bundle.errors import PublishError
from convscope.bundle.opening import open_repository
from convscope.bundle.publishing import prepare
from convscope.bundle.publishing import publish as publish_prepared
from convscope.bundle.reader import read_bundle
from convscope.exporter.bundles.verify import CHECKS, verify
from convscope.exporter.cli import app


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "source")


def publish(bundle: Path, target: Path | str, *options: str) -> Result:
    return CliRunner().invoke(app, ["publish", str(bundle), str(target), *options])


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_bundle_is_copied_byte_for_byte(bundle: Path, tmp_path: Path) -> None:
    done = publish(bundle, tmp_path / "target")
    assert done.exit_code == 0
    assert f"published {tmp_path / 'target/tiny/1'}" in done.stdout
    assert contents(tmp_path / "target/tiny/1") == contents(bundle)
    assert [path.name for path in (tmp_path / "target/tiny").iterdir()] == ["1"]


def test_a_renumbered_bundle_passes_every_check(bundle: Path, tmp_path: Path) -> None:
    assert publish(bundle, tmp_path / "target", "--version", "7").exit_code == 0
    there = tmp_path / "target/tiny/7"
    assert tuple(check.name for check in verify(there)) == CHECKS
    before, after = (json.loads((d / "manifest.json").read_text()) for d in (bundle, there))
    assert after == before | {"version": "7"}


@pytest.mark.parametrize("options", [(), ("--version", "7")])
def test_publishing_again_succeeds_and_reports_it(
    bundle: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    publish(bundle, tmp_path / "target", *options)
    done = publish(bundle, tmp_path / "target", *options)
    assert done.exit_code == 0
    assert "exists already and is the same" in done.stdout


def test_another_bundle_under_the_same_number_is_rejected(bundle: Path, tmp_path: Path) -> None:
    def other_label(manifest: object) -> None:
        manifest.labels[0] = "crimson"  # type: ignore[attr-defined]

    target = tmp_path / "target"
    publish(bundle, target)
    before = contents(target / "tiny/1")
    other = write_tiny(tmp_path / "other", alter_manifest=other_label)
    done = publish(other, target)
    assert done.exit_code == 1
    assert f"{target}/tiny/1 exists with other contents" in done.stderr
    assert "--version 2" in done.stderr
    assert contents(target / "tiny/1") == before


def test_a_version_that_was_cut_off_is_not_the_same(bundle: Path, tmp_path: Path) -> None:
    publish(bundle, tmp_path / "target")
    golden = tmp_path / "target/tiny/1/golden.npz"
    golden.write_bytes(golden.read_bytes()[:-1])
    done = publish(bundle, tmp_path / "target")
    assert done.exit_code == 1
    assert "tiny/1 exists with other contents" in done.stderr


def test_a_damaged_bundle_is_rejected(bundle: Path, tmp_path: Path) -> None:
    flip_byte(bundle / "model.onnx", 100)
    done = publish(bundle, tmp_path / "target")
    assert done.exit_code == 1
    assert "the SHA-256 of model.onnx is" in done.stderr
    assert not (tmp_path / "target").exists()


def test_a_file_that_changes_after_it_was_verified_is_rejected(
    bundle: Path, tmp_path: Path
) -> None:
    prepared = prepare(read_bundle(bundle))
    flip_byte(bundle / "golden.npz", 100)
    with pytest.raises(PublishError, match=r"golden\.npz changed while it was copied"):
        publish_prepared(open_repository(str(tmp_path / "target")), prepared)
    assert list((tmp_path / "target").iterdir()) == []


def test_second_publisher_of_a_number_fails(bundle: Path, tmp_path: Path) -> None:
    repository = open_repository(str(tmp_path / "target"))

    def another_process(_: int) -> None:
        if not repository.has("tiny", 1):
            publish_prepared(repository, prepare(read_bundle(bundle)))

    with pytest.raises(PublishError, match="was published by another process meanwhile"):
        publish_prepared(repository, prepare(read_bundle(bundle)), another_process)
    assert [path.name for path in (tmp_path / "target/tiny").iterdir()] == ["1"]


def test_the_progress_adds_up_to_the_size(bundle: Path, tmp_path: Path) -> None:
    reported: list[int] = []
    publish_prepared(
        open_repository(str(tmp_path / "target")), prepare(read_bundle(bundle)), reported.append
    )
    assert sum(reported) == sum(path.stat().st_size for path in bundle.iterdir())


def test_a_file_url_is_a_path(bundle: Path, tmp_path: Path) -> None:
    assert publish(bundle, f"file://{tmp_path}/target").exit_code == 0
    assert contents(tmp_path / "target/tiny/1") == contents(bundle)


def test_a_path_that_is_not_a_bundle_is_rejected(tmp_path: Path) -> None:
    done = publish(tmp_path / "Nothing", tmp_path / "target")
    assert done.exit_code == 1
    assert "is not a bundle; name one like models/MODEL/VERSION" in done.stderr
