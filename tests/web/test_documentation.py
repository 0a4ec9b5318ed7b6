"""The OpenAPI document and its page."""

from pathlib import Path

import pytest
from support.web_process import WebProcess

pytestmark = pytest.mark.one_transport("reads the description of the web process")

ROOT = Path(__file__).parents[2]


def test_the_document_describes_every_path_with_its_replies(web: WebProcess) -> None:
    document = web.get("/openapi.json").json
    paths = document["paths"]
    assert {
        "/v1/models",
        "/v1/models/{model}:classify",
        "/healthz",
        "/v2/models/{model}/infer",
    } <= (paths.keys())
    classify = paths["/v1/models/{model}:classify"]["post"]
    names = [parameter["name"] for parameter in classify["parameters"]]
    assert names[:3] == ["model", "version", "top_k"]
    assert all(parameter["description"] for parameter in classify["parameters"])
    assert {"image/*", "multipart/form-data", "application/json"} <= (
        classify["requestBody"]["content"].keys()
    )
    assert {"200", "400", "404", "413", "429", "503", "504"} <= classify["responses"].keys()
    schemas = document["components"]["schemas"].keys()
    assert {"ClassifyReply", "ErrorReply", "OpenInferenceError"} <= schemas
    assert not {"HTTPValidationError", "ValidationError"} & schemas
    operations = [operation for path in paths.values() for operation in path.values()]
    assert not any("422" in operation["responses"] for operation in operations)
    assert all(operation["summary"] and operation["description"] for operation in operations)
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)


def test_every_parameter_and_error_is_in_the_guide(web: WebProcess) -> None:
    guide = (ROOT / "docs" / "http.md").read_text()
    classify = web.get("/openapi.json").json["paths"]["/v1/models/{model}:classify"]["post"]
    for parameter in classify["parameters"]:
        assert parameter["name"] in guide
    for status in classify["responses"].keys() - {"200"}:
        assert status in guide


def test_the_page_loads_its_files_from_this_process(web: WebProcess) -> None:
    html = web.get("/docs").body.decode()
    for name in ("docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/start.js"):
        assert name in html
        assert web.get(f"/{name}").status == 200
