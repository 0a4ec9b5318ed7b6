"""Repositories on plain web servers."""

from pathlib import Path

import numpy as np
import pytest
from support.web import over_http

from convscope.server.repository.remote.storage import REQUEST_BYTES, Remote, RemoteError


def test_web_server_without_range_requests_can_be_read(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(REQUEST_BYTES + 5)
    (tmp_path / "large").write_bytes(data)
    with over_http(tmp_path) as url:
        remote = Remote(url)
        assert list(remote.files()) == ["large"]
        assert b"".join(remote.blocks("large")) == data


def test_missing_web_server_differs_from_an_empty_one(tmp_path: Path) -> None:
    with over_http(tmp_path) as url:
        remote = Remote(url)
        assert remote.files() == {}
    with pytest.raises(RemoteError, match="Connect call failed"):
        remote.files()
