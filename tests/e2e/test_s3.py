"""A repository on a real S3 server: publish, serve, and keep serving without it."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from support.alterations import flip_byte
from support.calls import LOOPBACK, connected, image_request, run_to_end, sample, wait_until
from support.s3 import BUCKET, S3Server
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.client import AdminClient, FailedPreconditionError

pytestmark = [pytest.mark.slow(seconds=4), pytest.mark.one_transport("follows a remote repository")]

LAST_SYNC = "convscope_repository_last_sync_timestamp_seconds"
FAILURES = "convscope_repository_sync_failures_total"
UNFOLLOWED = "repository is not available; the cached versions serve"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as s3:
        yield s3


@pytest.fixture
def url(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> str:
    """A separate repository with version 1 of "tiny", and the environment to reach it."""
    set_environment(monkeypatch, s3, tmp_path)
    url = f"s3://{BUCKET}/{request.node.name}"
    s3.put(write_tiny(tmp_path / "source"), url)
    return url


def set_environment(monkeypatch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CONVSCOPE_REPOSITORY_CACHE", str(tmp_path / "caches"))


def answering(server: ServerProcess, **means: str) -> int:
    """Return the version that serves a request."""
    with connected(server) as stub:
        return int(stub.Classify(image_request(**means), timeout=30).version)


def events(server: ServerProcess, name: str) -> list[dict[str, object]]:
    return [line for line in server.log if line["event"] == name]


def test_changes_in_the_remote_repository_reach_the_server(
    s3: S3Server, url: str, tmp_path: Path
) -> None:
    with ServerProcess(url, "--poll-seconds", "0.2") as server:
        assert answering(server) == 1
        s3.export("publish", write_tiny(tmp_path / "source", version=2), url)
        wait_until(lambda: answering(server) == 2)
        s3.export("promote", "tiny", "1", "--alias", "champion", "--repository", url)
        wait_until(lambda: sample(server, "convscope_model_info", version="1") == 1)
        wait_until(lambda: has_alias(server, "champion"))
        assert answering(server, alias="champion") == 1
        damaged = write_tiny(tmp_path / "source", version=3)
        flip_byte(damaged / "model.onnx", 50)
        s3.put(damaged, url)
        wait_until(lambda: sample(server, "convscope_model_refused", version="3") == 1)
        (rejected,) = events(server, "bundle rejected")
        assert (rejected["version"], rejected["reason"]) == (3, "hash")
        assert answering(server) == 2
        s3.system.rm(f"{url}/tiny/3", recursive=True)
        wait_until(lambda: sample(server, "convscope_model_refused", version="3") == 0)
        assert sample(server, FAILURES) == 0


def has_alias(server: ServerProcess, alias: str) -> bool:
    with connected(server) as stub:
        try:
            stub.Classify(image_request(alias=alias), timeout=30)
        except grpc.RpcError as error:
            return error.code() is not grpc.StatusCode.NOT_FOUND
    return True


def test_cached_versions_keep_serving_without_the_remote_even_after_a_restart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"s3://{BUCKET}/models"
    with S3Server() as s3:
        set_environment(monkeypatch, s3, tmp_path)
        s3.put(write_tiny(tmp_path / "source"), url)
        server = ServerProcess(url, "--poll-seconds", "0.2")
    with server:
        wait_until(lambda: sample(server, FAILURES) >= 1)
        synced_at = sample(server, LAST_SYNC)
        assert answering(server) == 1
        (warning, *_) = events(server, UNFOLLOWED)
        assert (warning["level"], warning["url"]) == ("warning", url)
        assert server.stop() == 0
    with ServerProcess(url) as server:
        assert answering(server) == 1
        (warning, *_) = events(server, UNFOLLOWED)
        assert warning["url"] == url
        assert isinstance(warning["cache_age_seconds"], int)
        assert sample(server, LAST_SYNC) == synced_at
    code, _, err = run_to_end("--models", f"{url}/other", *LOOPBACK)
    assert code == 1
    assert f"--models {url}/other can't be followed" in err
    assert "nothing of it is cached in" in err
    assert "Traceback" not in err


def test_operator_loads_immediately_and_learns_where_to_set_aliases(
    s3: S3Server, url: str, tmp_path: Path
) -> None:
    admin = f"unix:{tmp_path / '.admin.sock'}"
    flags = ("--poll-seconds", "0", "--admin-address", admin)
    with ServerProcess(url, *flags) as server, AdminClient(admin) as client:
        s3.put(write_tiny(tmp_path / "source", version=2), url)
        client.load("tiny")
        assert answering(server) == 2
        with pytest.raises(FailedPreconditionError, match="convscope-exporter promote"):
            client.set_alias("tiny", "champion", 1)


def test_workers_share_one_cache_and_one_download(s3: S3Server, url: str, tmp_path: Path) -> None:
    with ServerProcess(url, "--workers", "2", "--poll-seconds", "0.2") as server:
        s3.put(write_tiny(tmp_path / "source", version=2), url)
        wait_until(lambda: len(events(server, "model ready")) == 4)
        assert [line["version"] for line in events(server, "version fetched")] == [1, 2]
        assert sample(server, FAILURES) == 0


def test_a_folder_without_models_is_an_error_that_explains_publishing(url: str) -> None:
    code, _, err = run_to_end("--models", f"{url}/nothing", *LOOPBACK)
    assert code == 1
    assert f"publish models/MODEL/VERSION {url}/nothing" in err
