"""A server that requires signatures: it swaps to signed versions and rejects all others."""

import shutil
from pathlib import Path

import pytest
from support.calls import LOOPBACK, connected, image_request, run_to_end, sample, wait_until
from support.s3 import BUCKET, S3Server
from support.server import ServerProcess
from support.signing import make_keys, sign
from support.tiny import write_tiny

from convscope.client import AdminClient, FailedPreconditionError

pytestmark = pytest.mark.one_transport("follows a repository")


def serves(server: ServerProcess, version: int) -> bool:
    with connected(server) as stub:
        return int(stub.Classify(image_request(), timeout=30).version) == version


def rejections(server: ServerProcess) -> list[tuple[int, str]]:
    events = [line for line in server.log if line["event"] == "bundle rejected"]
    return [(line["version"], line["reason"]) for line in events]


def add(repository: Path, bundle: Path) -> None:
    """Move a bundle to its place in a repository, all of it at once."""
    bundle.rename(repository / bundle.parent.name / bundle.name)


def test_signed_versions_are_swapped_in_and_others_are_rejected(tmp_path: Path) -> None:
    keys, foreign = make_keys(tmp_path / "trusted"), make_keys(tmp_path / "foreign")
    models, staging = tmp_path / "models", tmp_path / "staging"
    sign(write_tiny(models), keys)
    address = f"unix:{tmp_path / 'admin.sock'}"
    flags = ("--require-signature", "--signature-key", str(tmp_path / "trusted"))
    with (
        ServerProcess(
            models, "--poll-seconds", "0.1", "--admin-address", address, *flags
        ) as server,
        AdminClient(address) as admin,
    ):
        assert serves(server, 1)
        # The library takes 60 MiB, and only the subprocess that checks signatures has it.
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "blake3" not in maps

        add(models, write_tiny(staging, version=2))
        wait_until(lambda: rejections(server) == [(2, "signature")])
        assert sample(server, "convscope_model_refused", version="2", reason="signature") == 1
        assert serves(server, 1)
        sign(models / "tiny/2", keys)
        wait_until(lambda: serves(server, 2))

        add(models, sign(write_tiny(staging, version=3), foreign))
        wait_until(lambda: rejections(server)[1:] == [(3, "signature")])
        with pytest.raises(FailedPreconditionError, match="signed with the key"):
            admin.load("tiny", 3)
        assert serves(server, 2)
        shutil.rmtree(models / "tiny/3")

        altered = sign(write_tiny(staging, version=4), keys)
        write_tiny(staging / "other", version=4, activation="Sigmoid")
        for name in ("manifest.json", "model.onnx", "golden.npz"):
            shutil.copy(staging / "other/tiny/4" / name, altered / name)
        add(models, altered)
        wait_until(lambda: rejections(server)[-1] == (4, "signature"))
        assert serves(server, 2)

        # A key that is added applies from the next load on.
        shutil.copy(foreign.public, tmp_path / "trusted/second.pem")
        add(models, sign(write_tiny(staging, version=5), foreign))
        wait_until(lambda: serves(server, 5))


def test_a_server_does_not_start_with_only_unsigned_versions(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "trusted")
    write_tiny(tmp_path / "models")
    flags = ("--require-signature", "--signature-key", keys.public)
    code, _, message = run_to_end("--models", tmp_path / "models", *LOOPBACK, *flags)
    assert code == 1
    assert "every bundle" in message
    assert "isn't signed" in message


@pytest.mark.slow
def test_a_version_of_a_remote_repository_serves_once_it_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys(tmp_path / "trusted")
    with S3Server() as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CONVSCOPE_REPOSITORY_CACHE", str(tmp_path / "caches"))
        url = f"s3://{BUCKET}/signed"
        s3.put(sign(write_tiny(tmp_path / "source"), keys), url)
        flags = ("--require-signature", "--signature-key", str(keys.public))
        with ServerProcess(url, "--poll-seconds", "0.2", *flags) as server:
            assert serves(server, 1)
            second = write_tiny(tmp_path / "source", version=2)
            s3.put(second, url)
            wait_until(lambda: rejections(server) == [(2, "signature")])
            assert serves(server, 1)
            s3.put(sign(second, keys), url)
            wait_until(lambda: serves(server, 2))
