"""A required signature: who may sign, and that no byte or file may differ."""

import base64
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_signing import hashing, signing, verifying
from support.signing import Authority, KeyPair, make_authority, make_keys, sign
from support.tiny import seal, write_tiny

from convscope.bundle.errors import BundleRejectedError, SigningError
from convscope.bundle.layout import BUNDLE_FILES, LISTED_FILES, MAX_SIGNATURE_BYTES
from convscope.bundle.reader import read_bundle
from convscope.bundle.signatures import TrustedSigners
from convscope.bundle.signing import Signer, make_signature

SIGNATURE = "model.sig"
FLIPS_PER_FILE = 60


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def trusted(keys: KeyPair) -> TrustedSigners:
    return TrustedSigners(keys.public)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, keys: KeyPair) -> Path:
    return sign(write_tiny(tmp_path_factory.mktemp("signed")), keys)


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "models/tiny/1"))


def load(directory: Path, trusted: TrustedSigners) -> dict[str, bytes]:
    """Read every byte of a bundle as a server does, and return it."""
    bundle = read_bundle(directory, trusted)
    return {name: bundle.read_file(name) for name in LISTED_FILES}


def rejection(directory: Path, trusted: TrustedSigners) -> BundleRejectedError:
    with pytest.raises(BundleRejectedError) as raised:
        load(directory, trusted)
    assert str(directory) not in raised.value.message
    return raised.value


def test_a_bundle_signed_with_a_trusted_key_is_loaded(
    bundle: Path, trusted: TrustedSigners
) -> None:
    assert load(bundle, trusted) == {name: (bundle / name).read_bytes() for name in LISTED_FILES}


def test_a_signature_stays_valid_in_another_repository(
    bundle: Path, trusted: TrustedSigners, tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(bundle, tmp_path / "production/tiny/1")
    assert load(Path(elsewhere), trusted)


def test_the_library_and_this_project_accept_each_others_signatures(
    bundle: Path, keys: KeyPair, trusted: TrustedSigners
) -> None:
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=keys.public)
    verifier.verify(bundle, bundle / SIGNATURE)

    (bundle / SIGNATURE).unlink()
    ignored = hashing.Config().set_ignored_paths(paths=[SIGNATURE])
    signer = signing.Config().use_elliptic_key_signer(private_key=keys.private)
    signer.set_hashing_config(ignored).sign(bundle, bundle / SIGNATURE)
    assert load(bundle, trusted)


def test_the_library_rejects_a_change_too(bundle: Path, keys: KeyPair) -> None:
    (bundle / "golden.npz").write_bytes(b"other")
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=keys.public)
    with pytest.raises(ValueError, match=r"golden\.npz"):
        verifier.verify(bundle, bundle / SIGNATURE)


def test_any_of_several_keys_may_sign(bundle: Path, keys: KeyPair, tmp_path: Path) -> None:
    folder = tmp_path / "trusted"
    make_keys(folder, "other").private.unlink()
    with_others = TrustedSigners(folder)
    assert "signed with the key" in rejection(bundle, with_others).message
    # The directory is read again at each check.
    shutil.copy(keys.public, folder / "ours.pem")
    assert load(bundle, with_others)


@pytest.mark.parametrize("name", sorted({*BUNDLE_FILES, SIGNATURE}))
def test_no_flipped_bit_is_loaded(
    name: str, original: Path, bundle: Path, trusted: TrustedSigners
) -> None:
    """A flipped bit of the signature may have no meaning, as in the rest of its base64."""
    good, expected = (original / name).read_bytes(), load(original, trusted)
    generator, rejected = random.Random(name), 0
    for _ in range(FLIPS_PER_FILE):
        data = bytearray(good)
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        (bundle / name).write_bytes(data)
        try:
            assert load(bundle, trusted) == expected
        except BundleRejectedError:
            rejected += 1
    assert rejected == FLIPS_PER_FILE or (name == SIGNATURE and rejected > 0.9 * FLIPS_PER_FILE)


Change = Callable[[Path], object]


def replace_by_link(name: str) -> Change:
    def change(directory: Path) -> None:
        target = directory.parent / f"real-{name}"
        (directory / name).rename(target)
        (directory / name).symlink_to(target)

    return change


def rename(old: str, new: str) -> Change:
    return lambda directory: (directory / old).rename(directory / new)


def add(name: str) -> Change:
    return lambda directory: (directory / name).write_text("")


def remove(name: str) -> Change:
    return lambda directory: (directory / name).unlink()


def swap_files(directory: Path) -> None:
    graph, golden = (directory / name for name in ("model.onnx", "golden.npz"))
    data = graph.read_bytes()
    graph.write_bytes(golden.read_bytes())
    golden.write_bytes(data)


def reseal(directory: Path) -> None:
    """Change the graph, and the manifest to match, as whoever can write to the disk can."""
    (directory / "model.onnx").write_bytes((directory / "model.onnx").read_bytes() + b"\x00")
    seal(directory)


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        pytest.param(remove(SIGNATURE), "signature", "isn't signed", id="no signature"),
        pytest.param(remove("golden.npz"), "files", "missing", id="no golden file"),
        pytest.param(remove("manifest.json"), "files", "missing", id="no manifest"),
        pytest.param(add("run.sh"), "files", "run.sh", id="a file more"),
        pytest.param(add(".hidden"), "signature", ".hidden", id="a hidden file more"),
        pytest.param(rename("model.onnx", "net.onnx"), "files", "missing", id="a renamed file"),
        pytest.param(
            rename(SIGNATURE, "model.SIG"), "files", "model.SIG", id="a renamed signature"
        ),
        pytest.param(swap_files, "hash", "has", id="two files in each other's place"),
        pytest.param(replace_by_link("model.onnx"), "signature", "is a link", id="a link"),
        pytest.param(
            replace_by_link(SIGNATURE), "signature", "is a link", id="a link to the signature"
        ),
        pytest.param(
            reseal,
            "signature",
            "other content: manifest.json, model.onnx;",
            id="another graph with its manifest",
        ),
    ],
)
def test_a_changed_directory_is_rejected(
    change: Change, reason: str, message: str, bundle: Path, trusted: TrustedSigners
) -> None:
    change(bundle)
    found = rejection(bundle, trusted)
    assert found.reason == reason
    assert message in found.message


def test_another_bundles_signature_is_rejected(
    bundle: Path, keys: KeyPair, trusted: TrustedSigners, tmp_path: Path
) -> None:
    other = sign(write_tiny(tmp_path / "other", version=2), keys)
    shutil.copy(other / SIGNATURE, bundle / SIGNATURE)
    found = rejection(bundle, trusted)
    assert found.reason == "signature"
    assert "other content: manifest.json;" in found.message


def test_a_signed_bundle_is_rejected_under_another_number(
    bundle: Path, trusted: TrustedSigners
) -> None:
    moved = bundle.rename(bundle.parent / "2")
    assert rejection(moved, trusted).reason == "manifest"


def test_another_key_is_rejected(bundle: Path, tmp_path: Path, trusted: TrustedSigners) -> None:
    sign(bundle, make_keys(tmp_path / "foreign"))
    assert "signed with the key" in rejection(bundle, trusted).message


def test_another_key_that_claims_to_be_the_trusted_one_is_rejected(
    original: Path, bundle: Path, tmp_path: Path, trusted: TrustedSigners
) -> None:
    theirs = json.loads((sign(bundle, make_keys(tmp_path / "foreign")) / SIGNATURE).read_text())
    ours = json.loads((original / SIGNATURE).read_text())
    theirs["verificationMaterial"] = ours["verificationMaterial"]
    (bundle / SIGNATURE).write_text(json.dumps(theirs))
    assert "not valid" in rejection(bundle, trusted).message


def edit(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    def edited(data: bytes) -> bytes:
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return edited


def edit_statement(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    """Change what was signed, and keep the signature."""

    def changed(content: Any) -> None:
        envelope = content["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"]))
        change(statement)
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    return edit(changed)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: data + data, id="twice"),
        pytest.param(lambda data: b"\xff" + data, id="no text"),
        pytest.param(lambda data: b"[" * 100_000, id="deep"),
        pytest.param(lambda data: b'{"verificationMaterial":' * 10_000, id="deep objects"),
        pytest.param(lambda data: b"9" * 200_000, id="a long number"),
        pytest.param(lambda data: b"null", id="null"),
        pytest.param(lambda data: b'{"verificationMaterial": []}', id="a list of material"),
        pytest.param(lambda data: data + b" " * MAX_SIGNATURE_BYTES, id="huge"),
        pytest.param(edit(lambda c: c.update(mediaType="text/plain")), id="media type"),
        pytest.param(
            edit(lambda c: c["dsseEnvelope"].update(payloadType="text/plain")), id="payload type"
        ),
        pytest.param(edit(lambda c: c["dsseEnvelope"].update(signatures=[])), id="no signatures"),
        pytest.param(
            edit(lambda c: c["dsseEnvelope"]["signatures"].insert(0, {"sig": "AA==", "keyid": ""})),
            id="another signature before it",
        ),
        pytest.param(edit(lambda c: c.pop("dsseEnvelope")), id="no envelope"),
        pytest.param(edit(lambda c: c["verificationMaterial"].clear()), id="no material"),
        pytest.param(
            edit(lambda c: c["verificationMaterial"]["publicKey"].clear()), id="no hash of the key"
        ),
        pytest.param(
            edit(lambda c: c["verificationMaterial"]["publicKey"].update(hint={})),
            id="a hash of the key that is no text",
        ),
        pytest.param(
            edit_statement(lambda s: s["predicate"].update(resources=[])), id="no files signed"
        ),
        pytest.param(
            edit_statement(lambda s: s["predicate"]["resources"][0].update(digest="00" * 32)),
            id="another hash signed",
        ),
    ],
)
def test_a_damaged_signature_is_rejected(
    damage: Callable[[bytes], bytes], bundle: Path, trusted: TrustedSigners
) -> None:
    path = bundle / SIGNATURE
    path.write_bytes(damage(path.read_bytes()))
    assert rejection(bundle, trusted).reason == "signature"


def test_a_signature_that_leaves_a_file_out_is_rejected(
    bundle: Path, keys: KeyPair, trusted: TrustedSigners
) -> None:
    ignored = hashing.Config().set_ignored_paths(paths=[SIGNATURE, "golden.npz"])
    signer = signing.Config().use_elliptic_key_signer(private_key=keys.private)
    signer.set_hashing_config(ignored).sign(bundle, bundle / SIGNATURE)
    assert "other content: golden.npz;" in rejection(bundle, trusted).message


def test_a_pipe_is_not_waited_for(bundle: Path, trusted: TrustedSigners) -> None:
    (bundle / SIGNATURE).unlink()
    os.mkfifo(bundle / SIGNATURE)
    assert rejection(bundle, trusted).reason == "signature"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


def test_a_certificate_of_a_trusted_authority_may_sign(
    bundle: Path, authority: Authority, trusted: TrustedSigners
) -> None:
    sign(bundle, authority.signer)
    assert load(bundle, TrustedSigners(authorities=authority.root))
    assert "isn't trusted here; sign it with a key" in rejection(bundle, trusted).message


def test_a_certificate_of_another_authority_is_rejected(
    bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    sign(bundle, make_authority(tmp_path / "foreign").signer)
    found = rejection(bundle, TrustedSigners(authorities=authority.root))
    assert "not valid, or of a signer that isn't trusted" in found.message


def test_a_file_changed_after_a_certificate_signed_is_rejected(
    bundle: Path, authority: Authority
) -> None:
    sign(bundle, authority.signer)
    reseal(bundle)
    found = rejection(bundle, TrustedSigners(authorities=authority.root))
    assert "other content: manifest.json, model.onnx;" in found.message


def test_an_encrypted_key_signs_with_its_password(bundle: Path, tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "encrypted", password=b"secret")
    sign(bundle, Signer(keys.private, "secret"))
    assert load(bundle, TrustedSigners(keys.public))
    with pytest.raises(SigningError, match="can't be signed"):
        make_signature(read_bundle(bundle), Signer(keys.private, "wrong"))


def test_a_changed_bundle_is_not_signed(bundle: Path, keys: KeyPair) -> None:
    opened = read_bundle(bundle)
    (bundle / "model.onnx").write_bytes(b"other")
    with pytest.raises(BundleRejectedError):
        make_signature(opened, Signer(keys.private))


def test_the_manifest_that_was_signed_is_the_one_that_is_used(
    bundle: Path, trusted: TrustedSigners
) -> None:
    """What is written to disk after the check is rejected when it is read."""
    opened = read_bundle(bundle, trusted)
    reseal(bundle)
    with pytest.raises(BundleRejectedError):
        opened.read_graph()


@pytest.mark.parametrize("content", ["", "no key", "-----BEGIN PUBLIC KEY-----\n"])
def test_a_key_that_is_none_is_an_error(content: str, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(content)
    with pytest.raises(SigningError, match="is not a public key in PEM"):
        read_bundle(bundle, TrustedSigners(path))


def test_a_directory_without_keys_is_an_error(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SigningError, match=r"has no file \*\.pem"):
        read_bundle(bundle, TrustedSigners(tmp_path / "empty"))


def test_without_a_requirement_signatures_are_ignored(bundle: Path) -> None:
    (bundle / SIGNATURE).write_text("no signature")
    assert read_bundle(bundle).read_graph()
