"""Security headers, host names, origins, request ids, and the access log."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from support.calls import wait_until
from support.images import encode, picture
from support.server import ServerProcess
from support.web_process import WebProcess

from convscope.web.errors import HttpError
from convscope.web.log import Log
from convscope.web.security import Hosts

pytestmark = pytest.mark.one_transport("sends HTTP to the web process")

TINY = "/v1/models/tiny:classify"
PHOTO = encode(picture())


@pytest.mark.parametrize("path", ["/", "/static/index.html", "/docs", "/v1/models", "/v2", "/no"])
def test_every_reply_is_confined(web: WebProcess, path: str) -> None:
    headers = web.get(path).headers
    is_file = path == "/" or path.startswith(("/static/", "/docs"))
    policy = dict(
        rule.strip().partition(" ")[::2] for rule in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy.get("script-src") == ("'self'" if is_file else None)
    assert "http" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == ("no-cache" if is_file else "no-store")
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_the_page_has_no_script_or_style_in_its_html(web: WebProcess) -> None:
    for path in ("/", "/docs"):
        html = web.get(path).body.decode()
        assert "<style" not in html
        assert html.count("<script") == html.count("<script src=") + html.count("<script type=")
        assert "http://" not in html.replace("http://www.w3.org", "")
        assert "https://" not in html


@pytest.fixture(scope="module")
def published(grpc_server: ServerProcess) -> Iterator[WebProcess]:
    """A web process behind a proxy, with a quiet log."""
    flags = ("--root-path", "vision/", "--allowed-host", "vision.example.org")
    origin = ("--cors-origin", "https://a.example")
    with WebProcess(grpc_server.target, *flags, *origin, "--no-access-log") as web:
        yield web
        web.stop()
        assert [line["event"] for line in web.log] == ["serving", "stopped"]


def test_a_name_that_was_not_allowed_is_rejected_on_loopback(published: WebProcess) -> None:
    for host in ("localhost:1", "127.0.0.1", "[::1]:8080", "Vision.Example.Org"):
        assert published.get("/v1/models", Host=host).status == 200
    status, code, message = published.get("/v1/models", Host="evil.example").error
    assert (status, code) == (421, "INVALID_ARGUMENT")
    assert "--allowed-host evil.example" in message
    reply = published.get("/v2/models/tiny", Host="evil.example")
    assert (reply.status, reply.json) == (421, {"error": message})


@pytest.mark.parametrize("has_credentials", [False, True])
def test_a_process_with_credentials_is_called_by_addresses_and_stated_names_only(
    has_credentials: bool,
) -> None:
    hosts = Hosts("0.0.0.0:8080", (), has_credentials=has_credentials)
    for host in ("localhost:8080", "127.0.0.1", "192.0.2.1:8080", "[2001:db8::1]:8080"):
        hosts.check(host)
    for host in ("rebound.example", "192.0.2.1.rebound.example:8080"):
        with pytest.raises(HttpError) if has_credentials else nullcontext():
            hosts.check(host)


def test_only_named_origins_may_call_from_a_browser(published: WebProcess) -> None:
    reply = published.get("/v1/models", Origin="https://a.example")
    assert reply.headers["access-control-allow-origin"] == "https://a.example"
    assert "x-request-id" in reply.headers["access-control-expose-headers"]
    reply = published.get("/v1/models", Origin="https://b.example")
    assert "access-control-allow-origin" not in reply.headers
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert published.request("OPTIONS", TINY, None, asked).status == 200


def test_an_id_of_the_caller_reaches_the_server_and_comes_back(
    web: WebProcess, grpc_server: ServerProcess
) -> None:
    reply = web.post(TINY, PHOTO, X_Request_Id="mine-1")
    assert reply.headers["x-request-id"] == "mine-1"
    wait_until(
        lambda: any(
            line.get("request_id") == "mine-1" and line.get("method") == "Classify"
            for line in grpc_server.log
        )
    )


@pytest.mark.parametrize("stated", ["", "x" * 200, "a\tb"])
def test_an_unusable_id_is_replaced(web: WebProcess, stated: str) -> None:
    first, second = (web.post(TINY, PHOTO, X_Request_Id=stated) for _ in range(2))
    ids = first.headers["x-request-id"], second.headers["x-request-id"]
    assert first.status == 200
    assert stated not in ids
    assert len(set(ids)) == 2


def test_each_request_is_logged(web: WebProcess) -> None:
    request_id = web.post(f"{TINY}?top_k=1", b"no image").headers["x-request-id"]

    def lines() -> list[dict[str, object]]:
        return [line for line in web.log if line.get("request_id") == request_id]

    wait_until(lambda: bool(lines()))
    (line,) = lines()
    assert line["event"] == "request"
    assert (line["method"], line["path"], line["status"]) == ("POST", TINY, 400)
    assert {"milliseconds", "bytes", "timestamp", "level"} <= line.keys()


@pytest.mark.parametrize("prefix", ["", "/vision"])
def test_a_proxy_may_publish_it_below_a_path(published: WebProcess, prefix: str) -> None:
    """Some proxies remove the path, and some don't."""
    assert published.post(prefix + TINY, PHOTO).status == 200
    document = published.get(f"{prefix}/openapi.json").json
    assert document["servers"] == [{"url": "/vision"}]
    page = published.get(f"{prefix}/")
    assert page.status == 200
    assert "script-src" in page.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/static/index.html", "/docs", "/docs/swagger-ui-bundle.js"])
def test_files_are_sent_again_only_if_they_changed(web: WebProcess, path: str) -> None:
    tag = web.get(path).headers["etag"]
    reply = web.get(path, If_None_Match=tag)
    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers["cache-control"] == "no-cache"


def test_a_terminal_obeys_no_path(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log(for_people=True)
    log.write("request", {"path": "/a\x1b[2J\n12:00 fake"})
    log.close()
    assert r"path=/a\x1b[2J\n12:00 fake" in capfd.readouterr().err


def test_links_of_the_page_are_relative(web: WebProcess) -> None:
    static = Path(__file__).parents[2] / "web/convscope/web/static"
    for path in static.rglob("*.html"):
        html = path.read_text()
        assert 'src="/' not in html
        assert 'href="/' not in html
