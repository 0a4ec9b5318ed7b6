"""The tokens of callers, and the web process's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.guarded import LIMITED, TOKEN, VIEWER, GuardedServer, guarded
from support.images import encode, picture
from support.server import ServerProcess
from support.web_process import Reply, WebProcess

IMAGE = encode(picture(), "PNG")
CLASSIFY = "/v1/models/tiny:classify"
ELSEWHERE = "https://elsewhere.example"
FRIEND = "https://friend.example"


@pytest.fixture(scope="module")
def guard(grpc_server: ServerProcess) -> Iterator[GuardedServer]:
    with guarded(grpc_server.target) as guard:
        yield guard


@pytest.fixture(scope="module")
def open_web(guard: GuardedServer) -> Iterator[WebProcess]:
    """A web process without a token of its own."""
    with WebProcess(guard.target) as web:
        yield web


@pytest.fixture(scope="module")
def lending_web(
    guard: GuardedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebProcess]:
    """A web process with a token of its own, and two origins."""
    file = tmp_path_factory.mktemp("web") / "token"
    file.write_text(TOKEN)
    flags = ("--server-token-file", str(file), "--cors-origin", FRIEND)
    with WebProcess(guard.target, *flags) as web:
        yield web


def classify(web: WebProcess, **headers: str) -> Reply:
    return web.post(CLASSIFY, IMAGE, **headers)


def test_the_callers_token_decides(open_web: WebProcess) -> None:
    assert classify(open_web, Authorization=f"Bearer {TOKEN}").status == 200
    reply = classify(open_web)
    assert reply.error == (401, "UNAUTHENTICATED", "the call has no credentials")
    assert reply.headers["www-authenticate"] == 'Bearer realm="convscope"'
    assert classify(open_web, Authorization="Bearer wrong").status == 401
    denied = classify(open_web, Authorization=f"Bearer {VIEWER}")
    assert denied.error == (403, "PERMISSION_DENIED", "viewer may not call this method")


def test_a_caller_over_its_rate(open_web: WebProcess, guard: GuardedServer) -> None:
    guard.pushback_ms = 1100
    reply = classify(open_web, Authorization=f"Bearer {LIMITED}")
    assert reply.error == (429, "RESOURCE_EXHAUSTED", "limited is over its rate")
    assert reply.headers["retry-after"] == "2"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/tiny", "/v2", "/v2/models/tiny"])
def test_every_path_needs_the_token(open_web: WebProcess, path: str) -> None:
    reply = open_web.get(path)
    assert reply.status == 401
    assert "www-authenticate" in reply.headers
    assert open_web.get(path, Authorization=f"Bearer {TOKEN}").status == 200


def test_health_without_a_token(open_web: WebProcess, lending_web: WebProcess) -> None:
    assert open_web.get("/healthz").status == 200
    reply = open_web.get("/readyz")
    assert reply.status == 503
    assert "--server-token-file" in reply.json["reason"]
    assert lending_web.get("/readyz").status == 200


def test_the_own_token_is_for_those_who_bring_none(lending_web: WebProcess) -> None:
    assert classify(lending_web).status == 200
    assert lending_web.get("/v1/models").status == 200
    assert lending_web.get("/v2/models/tiny").status == 200
    # It adds no rights to those of a caller.
    assert classify(lending_web, Authorization="Bearer wrong").status == 401
    assert classify(lending_web, Authorization=f"Bearer {VIEWER}").status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Origin": ELSEWHERE}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": ELSEWHERE}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": FRIEND}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        # Browsers send the first header only to https and loopback, and older ones never.
        ({"Origin": ELSEWHERE}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://vision.example"}, 403),
        ({"Origin": "http://localhost:8080", "Host": "localhost:8080"}, 200),
        ({"Origin": FRIEND}, 200),
        ({"Origin": ELSEWHERE, "Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Authorization": f"Bearer {TOKEN}"}, 200),
    ],
)
def test_other_sites_cannot_use_the_own_token(
    lending_web: WebProcess, headers: dict[str, str], status: int
) -> None:
    assert classify(lending_web, **headers).status == status
    assert lending_web.get("/v2/models/tiny", **headers).status == status


def test_other_sites_may_send_a_token_from_where_none_is_lent(open_web: WebProcess) -> None:
    reply = classify(open_web, Sec_Fetch_Site="cross-site", Origin=ELSEWHERE)
    assert reply.status == 401  # the browser adds nothing that would let it in


def test_no_token_is_logged(open_web: WebProcess, lending_web: WebProcess) -> None:
    classify(open_web, Authorization="Bearer s3cret")
    for web in (open_web, lending_web):
        log = str(web.log)
        assert "request" in log
        assert "s3cret" not in log
        assert TOKEN not in log


def test_a_file_that_is_no_token_is_a_failed_start(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("two words")
    with pytest.raises(RuntimeError, match="has characters that no token has"):
        WebProcess("localhost:1", "--server-token-file", str(file))
    file.write_text(TOKEN)
    with pytest.raises(RuntimeError, match=r"readable on the way to example\.org:1"):
        WebProcess("example.org:1", "--server-token-file", str(file))


def test_the_openapi_document_has_the_token(open_web: WebProcess) -> None:
    document = open_web.get("/openapi.json").json
    assert document["components"]["securitySchemes"] == {
        "token": {"type": "http", "scheme": "bearer"}
    }
