"""`sign`, and what `verify` and `publish` do with signatures."""

from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from support.alterations import flip_byte
from support.signing import KeyPair, make_authority, make_keys
from support.tiny import write_tiny
from typer.testing import CliRunner, Result

from convscope.exporter.cli import app

MEMORY = fsspec.filesystem("memory")
URL = "memory://signed/models"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "source")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def memory() -> Iterator[None]:
    yield
    if MEMORY.exists("/signed"):
        MEMORY.rm("/signed", recursive=True)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def sign(bundle: Path | str, keys: KeyPair) -> Result:
    return run("sign", bundle, "--key", keys.private)


def test_a_signed_bundle_is_verified_with_the_public_key(bundle: Path, keys: KeyPair) -> None:
    done = sign(bundle, keys)
    assert done.exit_code == 0, done.output
    assert f"signed    {bundle.resolve()}/model.sig" in done.stdout
    verified = run("verify", bundle, "--signature-key", keys.public)
    assert verified.exit_code == 0
    assert "signed by a trusted signer" in verified.stdout
    assert "signed" not in run("verify", bundle).stdout


def test_verify_rejects_an_unsigned_bundle_if_a_key_is_named(bundle: Path, keys: KeyPair) -> None:
    done = run("verify", bundle, "--signature-key", keys.public)
    assert done.exit_code == 1
    assert "isn't signed" in done.stderr


def test_a_damaged_bundle_is_not_signed(bundle: Path, keys: KeyPair) -> None:
    flip_byte(bundle / "model.onnx", 50)
    done = sign(bundle, keys)
    assert done.exit_code == 1
    assert "SHA-256 of model.onnx" in done.stderr
    assert not (bundle / "model.sig").exists()


def test_another_signature_replaces_the_first(bundle: Path, keys: KeyPair, tmp_path: Path) -> None:
    sign(bundle, make_keys(tmp_path / "old"))
    assert sign(bundle, keys).exit_code == 0
    assert run("verify", bundle, "--signature-key", keys.public).exit_code == 0


def test_a_certificate_signs_and_its_authority_verifies(bundle: Path, tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    certificate = ("--key", authority.key, "--certificate", authority.certificate)
    assert run("sign", bundle, *certificate).exit_code == 0
    assert run("verify", bundle, "--signature-authority", authority.root).exit_code == 0


def test_the_password_comes_from_the_environment(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys(tmp_path / "encrypted", password=b"a secret")
    done = sign(bundle, keys)
    assert done.exit_code == 1
    assert "the bundle can't be signed" in done.stderr
    monkeypatch.setenv("CONVSCOPE_SIGNING_PASSWORD", "a secret")
    done = sign(bundle, keys)
    assert done.exit_code == 0
    assert "a secret" not in done.output


@pytest.mark.parametrize(
    "options", [(), ("--key", __file__, "--sigstore"), ("--sigstore", "--certificate", __file__)]
)
def test_contradictory_options_are_an_error(bundle: Path, options: tuple[str, ...]) -> None:
    assert run("sign", bundle, *options).exit_code == 64


def test_what_is_no_private_key_is_named_in_a_sentence(bundle: Path, keys: KeyPair) -> None:
    done = run("sign", bundle, "--key", keys.public)
    assert done.exit_code == 1
    assert f"error: the bundle can't be signed with {keys.public}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "verified" not in done.stdout  # the key is read before the checks, which take longer


def test_a_missing_library_is_named_with_its_command(
    bundle: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.bundle.signing.has_library", lambda: False)
    assert "pip install '.[exporter,signing]'" in sign(bundle, keys).stderr


def test_publishing_copies_the_signature(bundle: Path, keys: KeyPair, tmp_path: Path) -> None:
    sign(bundle, keys)
    assert run("publish", bundle, tmp_path / "target").exit_code == 0
    copy = tmp_path / "target/tiny/1"
    assert run("verify", copy, "--signature-key", keys.public).exit_code == 0


def test_another_number_loses_the_signature_and_publish_reports_it(
    bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    sign(bundle, keys)
    done = run("publish", bundle, tmp_path / "target", "--version", "7")
    assert "not signed" in done.stdout
    copy = tmp_path / "target/tiny/7"
    assert not (copy / "model.sig").exists()
    assert sign(copy, keys).exit_code == 0
    assert run("verify", copy, "--signature-key", keys.public).exit_code == 0


@pytest.mark.usefixtures("memory")
def test_a_signature_reaches_a_remote_repository_with_or_after_its_bundle(
    bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    assert run("publish", bundle, URL).exit_code == 0
    sign(bundle, keys)
    assert "published" in run("publish", bundle, URL).stdout
    assert "nothing to do" in run("publish", bundle, URL).stdout
    assert MEMORY.cat_file("/signed/models/tiny/1/model.sig")
    assert run("publish", f"{URL}/tiny/1", tmp_path / "back").exit_code == 0
    back = tmp_path / "back/tiny/1"
    assert run("verify", back, "--signature-key", keys.public).exit_code == 0


@pytest.mark.usefixtures("memory")
def test_a_version_of_a_remote_repository_can_be_signed_there(bundle: Path, keys: KeyPair) -> None:
    run("publish", bundle, URL)
    done = sign(f"{URL}/tiny/1", keys)
    assert done.exit_code == 0, done.output
    assert f"signed    {URL}/tiny/1/model.sig" in done.stdout
    assert MEMORY.cat_file("/signed/models/tiny/1/model.sig")
