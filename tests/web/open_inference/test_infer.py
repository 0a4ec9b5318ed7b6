"""The Open Inference Protocol over REST, byte by byte; real clients are in e2e/."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.images import encode, picture
from support.server import ServerProcess
from support.tiny import SIDE
from support.web_process import Reply, WebProcess

pytestmark = pytest.mark.one_transport("sends HTTP to the web process")

INFER = "/v2/models/tiny/infer"
PIXELS = np.full((1, SIDE, SIDE, 3), (220, 20, 20), np.uint8)
INPUT = {"name": "images", "datatype": "UINT8", "shape": list(PIXELS.shape)}


def with_data(data: Any, **changes: Any) -> dict[str, Any]:
    return {"inputs": [{**INPUT, "data": data, **changes}]}


def binary(content: dict[str, Any], *tensors: bytes, length: int | None = None) -> dict[str, Any]:
    head = json.dumps(content).encode()
    stated = len(head) if length is None else length
    return {
        "body": head + b"".join(tensors),
        "content_type": "application/octet-stream",
        "Inference_Header_Content_Length": str(stated),
    }


def message(reply: Reply) -> tuple[int, str]:
    """The status and the message of an error, in the form of the protocol."""
    (name,) = reply.json
    assert name == "error"
    return reply.status, reply.json["error"]


def test_flat_and_nested_data_are_equal(web: WebProcess) -> None:
    replies = [
        web.post_json(INFER, with_data(data)).json
        for data in (PIXELS.tolist(), PIXELS.ravel().tolist())
    ]
    assert replies[0] == replies[1]
    logits, probabilities = replies[0]["outputs"]
    assert (probabilities["name"], probabilities["shape"]) == ("probabilities", [1, 3])
    assert np.argmax(probabilities["data"]) == 0
    assert logits["datatype"] == "FP32"
    assert replies[0]["model_version"] == "1"


def test_an_encoded_image_is_base64_in_json(web: WebProcess) -> None:
    photo = encode(picture())
    data = [base64.b64encode(photo).decode()]
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": data}
    assert web.post_json(INFER, {"inputs": [tensor]}).status == 200


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ([], "no JSON object"),
        ({"inputs": {}}, ""),
        ({"inputs": [3]}, "an input is no JSON object"),
        ({"inputs": 3}, "inputs of the request is no list"),
        ({"id": 3}, "id of the request is no string"),
        ({"parameters": {"a": [1]}}, "the parameter 'a' is no boolean"),
        ({"inputs": [INPUT]}, "input 'images' has neither data nor binary_data_size"),
        (with_data("text"), "the data of input 'images' is no list"),
        (with_data([[1], [2, 3]]), "is ragged"),
        (with_data([[1], 2]), "is ragged"),
        (with_data([1e300], datatype="FP16"), "is out of range of FP16"),
        (with_data([1.5]), "has other elements than UINT8"),
        (with_data(["a"]), "has other elements than UINT8"),
        (with_data([256]), "out of range; UINT8 is 0 to 255"),
        (with_data([-1]), "out of range"),
        (with_data([None]), "has other elements"),
        (with_data([1]), "768"),
        (with_data([1], datatype="UINT9"), "has the datatype 'UINT9'; there are: BOOL"),
        (with_data([1], shape="1"), "the shape of input 'images' is no list of integers"),
        (with_data([1], shape=[2**63]), "the shape of input 'images' is no list of integers"),
        (with_data([1], datatype="BYTES", shape=[1]), "no base64"),
        (with_data([1], parameters={"binary_data_size": 1}), "has both data and"),
        ({"inputs": [INPUT | {"parameters": {"binary_data_size": 5}}]}, "0 bytes remain"),
        ({"inputs": [INPUT | {"parameters": {"shared_memory_region": "x"}}]}, "shared memory"),
    ],
)
def test_invalid_requests_are_explained(web: WebProcess, content: Any, part: str) -> None:
    status, text = message(web.post_json(INFER, content))
    assert (status in (400, 501), part in text) == (True, True), text


@pytest.mark.parametrize(
    ("request_of", "part"),
    [
        (binary({}, length=9), "give the length of the JSON, at most the 2 bytes"),
        (binary({}, length=-1), "give the length of the JSON"),
        (binary({}, b"abc"), "3 bytes follow the inputs"),
        (
            binary({"inputs": [INPUT | {"parameters": {"binary_data_size": 4}}]}, b"abc"),
            "has the binary_data_size 4; 3 bytes remain",
        ),
        (binary({"inputs": []}, length=5), "the request is no JSON"),
    ],
)
def test_bytes_must_fit_what_the_json_states(
    web: WebProcess, request_of: dict[str, Any], part: str
) -> None:
    status, text = message(web.post(INFER, **request_of))
    assert (status, part in text) == (400, True), text


def nested(depth: int, element: str) -> bytes:
    data = "[" * depth + element + "]" * depth
    tensor = f'{{"name": "images", "datatype": "BYTES", "shape": [1], "data": {data}}}'
    return f'{{"inputs": [{tensor}]}}'.encode()


def test_deeply_nested_data_is_no_crash(web: WebProcess) -> None:
    photo = base64.b64encode(encode(picture())).decode()
    assert web.post(INFER, nested(1000, f'"{photo}"')).status == 200
    status, text = message(web.post(INFER, nested(5000, "1")))
    assert (status, "depth limit" in text) == (400, True)


def test_strings_as_numbers_take_no_memory(grpc_server: ServerProcess) -> None:
    """As an array, each would have the size of the longest: 1.6 GB."""
    with WebProcess(grpc_server.target) as web:
        status, text = message(web.post_json(INFER, with_data(["a" * 400, *[""] * 1_000_000])))
        assert (status, "has other elements than UINT8" in text) == (400, True)
        lines = Path(f"/proc/{web.process.pid}/status").read_text().splitlines()
        (peak,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        assert peak < 400_000


def test_a_compressed_body_is_limited_after_it_is_decompressed(web: WebProcess) -> None:
    body = gzip.compress(json.dumps(with_data(PIXELS.tolist())).encode())
    options = {"content_type": "application/json", "Content_Encoding": "gzip"}
    assert web.post(INFER, body, **options).status == 200
    bomb = gzip.compress(bytes(40 * 2**20))
    status, text = message(web.post(INFER, bomb, **options))
    assert (status, "more than 16,777,216 bytes" in text) == (413, True)
    assert message(web.post(INFER, body[:-9], **options))[1].endswith("has no end")
    assert "is no gzip" in message(web.post(INFER, b"plain", **options))[1]
    status, text = message(web.post(INFER, body, "", Content_Encoding="br"))
    assert (status, "there are: gzip, deflate" in text) == (415, True)


def test_inputs_over_the_limit_of_grpc_are_rejected(web: WebProcess) -> None:
    size = 9 * 2**20
    content = {"inputs": [INPUT | {"parameters": {"binary_data_size": size}}]}
    status, text = message(web.post(INFER, **binary(content, bytes(size))))
    assert (status, "the limit of a request is 8,388,608 bytes" in text) == (413, True)


@pytest.mark.parametrize("path", ["/v2/models/cat", "/v2/models/tiny/versions/9", "/v2/nothing"])
def test_unknown_names_have_the_errors_of_the_protocol(web: WebProcess, path: str) -> None:
    assert message(web.get(path))[0] == 404


def test_a_version_may_be_an_alias(web: WebProcess, grpc_server: ServerProcess) -> None:
    reply = web.post_json("/v2/models/tiny/versions/champion/infer", with_data(PIXELS.tolist()))
    assert reply.json["model_version"] == "1"
    assert web.get("/v2/models/tiny/versions/1/ready").json == {"name": "tiny", "ready": True}
    assert web.get("/v2/health/live").json == {"live": True}
    assert web.get("/v2/health/ready").json == {"ready": True}
