"""URLs of repositories: where their caches are, and what no message may contain."""

import subprocess
import sys
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from fsspec.registry import _registry  # type: ignore[import-untyped]
from support.remote import (
    URL,
    Syncs,
)

from convscope.server.errors import (
    StartError,
)
from convscope.server.repository.remote.location import cache_directory
from convscope.server.repository.remote.sync import RepositorySync


def test_cache_directory_is_readable_and_has_no_secrets(tmp_path: Path) -> None:
    names = {
        url: cache_directory(tmp_path, url).name
        for url in (
            *("s3://bucket/models", "s3://bucket/models/", "s3://bucket-models"),
            *("https://me:pass@host/models?token=pass", "https://host/models"),
        )
    }
    one, same, other, secret, plain = names.values()
    assert one == same
    assert one.startswith("s3-bucket-models-")
    assert one != other
    assert secret == plain
    assert "pass" not in secret


@pytest.mark.parametrize(
    ("url", "package"),
    [("s3://b/models", "s3fs"), ("gs://b/models", "gcsfs"), ("hf://u/m", "huggingface_hub")],
)
def test_error_for_a_missing_file_system_names_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it weren't installed
    # Another test of this process may have used it.
    monkeypatch.delitem(_registry, url.partition(":")[0], raising=False)
    with pytest.raises(StartError, match=f"isn't installed: pip install {package}"):
        RepositorySync(url, tmp_path, Syncs())


def test_error_for_an_unknown_url_scheme_names_it(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no file system is known for nowhere://"):
        RepositorySync("nowhere://b/models", tmp_path, Syncs())


def test_error_for_a_read_only_cache_names_the_flag(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="name another place with --repository-cache"):
        RepositorySync(URL, tmp_path / "file", Syncs())


def test_no_message_contains_the_secrets_of_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("can't connect to memory://me:secret@bucket/models?token=hidden")

    monkeypatch.setattr(MemoryFileSystem, "find", fail)
    sync = RepositorySync("memory://me:secret@bucket/models?token=hidden", tmp_path, Syncs())
    assert sync.list_models() is None
    assert sync.problem is not None
    assert "can't connect to memory://…@bucket/models?…;" in sync.problem
    assert sync.url == "memory://bucket/models"


@pytest.mark.parametrize(
    "url",
    [
        "zip://models::https://me:secret@host/a.zip",
        "simplecache::memory://me:secret@bucket/models",
        "file://models::https://me:secret@host/a.zip",
    ],
)
def test_error_for_a_chain_of_urls_has_no_secrets(tmp_path: Path, url: str) -> None:
    with pytest.raises(StartError, match=r"--models can't be used: .* chain") as caught:
        RepositorySync(url, tmp_path, Syncs())
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_server_of_a_directory_does_not_load_fsspec() -> None:
    code = "import sys; import convscope.server.app; print('fsspec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
