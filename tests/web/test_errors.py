"""Errors: gRPC's messages with the status codes of HTTP."""

import gzip
import io
import re
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from support.calls import image_request, rejection
from support.images import encode, picture
from support.server import ServerProcess
from support.web_process import WebProcess

from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc
from convscope.web.errors import from_rpc
from convscope.web.replies import ErrorReply

TINY, SEEN = "/v1/models/tiny:classify", "/v1/models/seen:classify"
PHOTO = encode(picture())


@pytest.fixture(scope="module")
def stub(grpc_server: ServerProcess) -> Iterator[inference_pb2_grpc.ClassifierServiceStub]:
    with grpc.insecure_channel(grpc_server.target) as channel:
        yield inference_pb2_grpc.ClassifierServiceStub(channel)


@pytest.mark.parametrize(
    ("model", "query", "body", "request_options"),
    [
        ("cat", "", PHOTO, {}),
        ("tiny", "?version=9", PHOTO, {"version": 9}),
        ("tiny", "?version=champ", PHOTO, {"alias": "champ"}),
        ("tiny", "", b"no image at all", {}),
        (
            "tiny",
            "?feature_maps=cnov",
            PHOTO,
            {"feature_maps": [pb.FeatureMapSelection(name="cnov")]},
        ),
        (
            "seen",
            "?explain=purple",
            PHOTO,
            {"explanations": [pb.ExplanationSelection(target=pb.ClassTarget(label="purple"))]},
        ),
        (
            "seen",
            "?explain=7",
            PHOTO,
            {"explanations": [pb.ExplanationSelection(target=pb.ClassTarget(class_index=7))]},
        ),
        (
            "tiny",
            "?explain=%231",
            PHOTO,
            {"explanations": [pb.ExplanationSelection(target=pb.ClassTarget(rank=1))]},
        ),
    ],
)
def test_messages_and_codes_are_those_of_grpc(
    web: WebProcess,
    stub: inference_pb2_grpc.ClassifierServiceStub,
    model: str,
    query: str,
    body: bytes,
    request_options: dict[str, Any],
) -> None:
    request = image_request(body, model=model, **request_options)
    code, message = rejection(stub.Classify, request)
    reply = web.post(f"/v1/models/{model}:classify{query}", body)
    status = {"NOT_FOUND": 404, "INVALID_ARGUMENT": 400}[code.name]
    message = message.replace("GetModel lists", "GET /v1/models/MODEL/labels lists")
    assert reply.error == (status, code.name, message)
    ErrorReply.model_validate_json(reply.body)


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("top_k=0", "top_k is 0; it must be 1 or more"),
        ("top_k=many", "top_k: Input should be a valid integer"),
        ("topk=3", "no parameter 'topk'; there are: version, top_k,"),
        ("min_probability=2", "min_probability is 2.0; it must be between 0 and 1"),
        ("timeout=0", "timeout is 0; give seconds, above 0"),
        ("timeout=1e9", "at most 300"),
        ("timeout=nan", "timeout: "),
        ("feature_map_format=jpg", "feature_map_format: Input should be 'png' or 'npy'"),
        ("feature_maps=conv&channels=a", "channels is 'a'; give indices"),
        ("feature_maps=conv&channels=0&strongest=1", "narrowed twice"),
        ("channels=1", "name some in feature_maps"),
        ("against=red", "options of explain"),
        ("explain=", "explain is empty; a rank, such as #1, is %231"),
        ("explain=%23best", "no rank '#best'; #1 is"),
        ("explain=%230", "must be between 1 and"),
        ("explain=0&method=eigen-cam&against=1", "has no contrast"),
        ("version=-1", "no alias '-1'"),
        (f"version={'1' * 5000}", "no alias '111"),
        (f"explain=%23{'1' * 5000}", "no rank"),
        (f"feature_maps=conv&channels={'1' * 5000}", "channels is"),
    ],
)
def test_invalid_parameters_are_named(web: WebProcess, query: str, part: str) -> None:
    status, code, message = web.post(f"{TINY}?{query}", PHOTO).error
    assert (status in (400, 404), code in ("INVALID_ARGUMENT", "NOT_FOUND")) == (True, True)
    assert part in message


@pytest.mark.parametrize(
    ("body", "content_type", "status", "part"),
    [
        (b"", "image/png", 400, "the request has no image"),
        (b"{", "application/json", 400, "the body is no JSON"),
        (b"[]", "application/json", 400, 'no list "images"'),
        (b'{"images": []}', "application/json", 400, "has no image"),
        (b'{"images": [3]}', "application/json", 400, "image 0 is no string"),
        (b'{"images": ["?"]}', "application/json", 400, "image 0 is no base64"),
        (b'{"images": [""]}', "application/json", 400, "an image is empty"),
        (b'{"images": ["eA=="], "top_k": 1}', "application/json", 400, "'top_k' beside the images"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 400, "has no image"),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400, "has no end"),
        (b"hello", "multipart/form-data; boundary=x", 400, "can't be read"),
        (b"hello", "multipart/form-data", 400, "has no boundary"),
        (b"x", f"multipart/form-data; boundary={'x' * 5000}", 400, "can't be read"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "the body is application/x-www-form"),
        (b"\x93NUMPY\x01", "", 400, "the .npy file can't be read"),
        (b"\x93NUMPY\x01\0\x0a\0{'descr':'O'}", "", 400, "the .npy file can't be read"),
    ],
)
def test_bodies_that_cannot_be_read(
    web: WebProcess, body: bytes, content_type: str, status: int, part: str
) -> None:
    found, code, message = web.post(TINY, body, content_type).error
    assert (found, code) == (status, "INVALID_ARGUMENT")
    assert part in message


def test_compressed_images_are_rejected(web: WebProcess) -> None:
    status, _, message = web.post(TINY, gzip.compress(PHOTO), Content_Encoding="gzip").error
    assert (status, message) == (415, "Content-Encoding is 'gzip'; send the images as they are")


def test_a_file_that_curl_states_to_be_a_form_is_an_image(web: WebProcess) -> None:
    for body in (PHOTO, npy(np.zeros((4, 4, 3), np.uint8)), encode(picture(), "WEBP")):
        assert web.post(TINY, body, "application/x-www-form-urlencoded").status == 200


def test_a_class_without_a_similar_label_names_the_path_of_the_labels(web: WebProcess) -> None:
    message = "no class 'cat' in seen v1; GET /v1/models/MODEL/labels lists its labels"
    assert web.post(f"{SEEN}?explain=cat", PHOTO).error == (400, "INVALID_ARGUMENT", message)
    assert web.get("/v1/models/seen/labels").status == 200


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_without_its_line_breaks_names_the_option_of_curl(
    web: WebProcess, kind: str
) -> None:
    """curl's -d @FILE removes line breaks and null bytes."""
    body = encode(picture(), kind).translate(None, b"\r\n\0")
    status, code, message = web.post(TINY, body, "application/x-www-form-urlencoded").error
    assert (status, code) == (400, "INVALID_ARGUMENT")
    assert "send it with --data-binary @FILE" in message


@pytest.mark.parametrize("path", [TINY, "/v2/models/tiny", "/v1/models"])
def test_headers_above_the_servers_limit_name_it(web: WebProcess, path: str) -> None:
    headers = {"Authorization": f"Bearer {'x' * 17_000}"}
    reply = web.post(path, PHOTO, **headers) if path == TINY else web.get(path, **headers)
    error = reply.json["error"]
    message = error if path.startswith("/v2") else error["message"]
    assert reply.status == 431
    assert re.search(r"16,?384.*; send fewer or shorter ones", message)
    assert "retry-after" not in reply.headers


def test_a_form_with_another_field_names_it(web: WebProcess) -> None:
    _, _, message = web.post_form(TINY, PHOTO, field="file").error
    assert "no field 'image', only 'file'" in message


def test_parameters_in_a_form_are_rejected(web: WebProcess) -> None:
    content_type = "multipart/form-data; boundary=x"
    field = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = field % (b"image", PHOTO) + field % (b"top_k", b"1") + b"--x--\r\n"
    status, _, message = web.post(TINY, body, content_type).error
    assert (status, "has 'top_k' beside the images; parameters belong in the URL" in message) == (
        400,
        True,
    )


def test_too_many_images_are_rejected(web: WebProcess) -> None:
    assert "65 images; the limit is 64" in web.post_form(TINY, *[b"x"] * 65).error[2]


def test_if_all_images_fail_the_request_fails(web: WebProcess) -> None:
    status, code, message = web.post_form(TINY, b"bad", b"worse").error
    assert (status, code) == (400, "INVALID_ARGUMENT")
    assert "not an image" in message


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_arrays_that_are_not_what_their_header_says(web: WebProcess) -> None:
    pixels = npy(np.zeros((4, 4, 3), np.uint8))
    _, _, message = web.post(TINY, pixels[:-1]).error
    assert "47 bytes of elements, which are not uint8 [4, 4, 3]" in message
    _, _, message = web.post(TINY, npy(np.array([print], dtype=object))).error
    assert "Python objects" in message
    _, _, message = web.post(TINY, npy(np.zeros((2, 2), np.int64))).error
    assert "int64" in message


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("|S0", "(3,)"),
        ("<f4", f"(0, {'9' * 400})"),
        ("|u1", f"({'0,' * 100})"),
        ("|u1", "(0, True)"),
    ],
)
def test_arrays_that_numpy_cannot_make(web: WebProcess, dtype: str, shape: str) -> None:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    body = b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header
    status, _, message = web.post(TINY, body).error
    assert (status, message[:36]) == (400, "the .npy file has no usable shape or")


@pytest.mark.parametrize(
    ("method", "path", "status", "part"),
    [
        ("GET", "/nothing", 404, "/docs describes the API"),
        ("GET", "/v1/models/cat", 404, "no model 'cat'"),
        ("GET", "/v1/models/cat/labels", 404, "no model 'cat'"),
        ("POST", "/v1/models", 405, "use GET"),
        ("GET", TINY, 405, ":classify doesn't accept GET; use POST"),
        ("POST", "/v1/models/tiny:explain", 404, "no action 'explain'; there is :classify"),
        ("GET", "/v1/models/tiny:explain", 404, "no action 'explain'; there is :classify"),
        ("DELETE", "/v1/models/tiny", 405, "doesn't accept DELETE"),
        ("GET", "/static/../app.py", 404, "there is no"),
        ("GET", "/docs/app.py", 404, "there is no"),
        # A redirect would have the host name and the scheme behind a proxy.
        ("GET", "/v1/models/", 404, "there is no"),
        ("POST", "/static/index.html", 405, "use GET, HEAD"),
    ],
)
def test_paths_and_methods_that_do_not_exist(
    web: WebProcess, method: str, path: str, status: int, part: str
) -> None:
    found, _, message = web.request(method, path, None, {}).error
    assert (found, part in message) == (status, True), message


@pytest.mark.parametrize(
    ("code", "details", "message"),
    [
        (
            grpc.StatusCode.UNAVAILABLE,
            "connections to all backends failing; last error: UNKNOWN: ipv4:127.0.0.1:1",
            "the gRPC server doesn't respond; /readyz has the reason",
        ),
        (
            grpc.StatusCode.UNAVAILABLE,
            "recvmsg:Connection reset by peer",
            "the call to the gRPC server failed: the connection was lost during the call",
        ),
        (grpc.StatusCode.NOT_FOUND, "no model 'goaway'", "no model 'goaway'"),
    ],
)
def test_grpc_s_own_messages_are_in_plain_english(
    code: grpc.StatusCode, details: str, message: str
) -> None:
    nothing = grpc.aio.Metadata()
    error = from_rpc(grpc.aio.AioRpcError(code, nothing, nothing, details))
    assert (error.code, error.message) == (code, message)
