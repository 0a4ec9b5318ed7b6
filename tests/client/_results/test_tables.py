"""Results as dictionaries, rows and tables, and their equality."""

import asyncio
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.server import ServerProcess

from convscope.client import AsyncClient, Client, ConvscopeError, InternalError, Results

pytestmark = pytest.mark.one_transport("reads results")

FIRST = ["image", "label", "index", "probability", "label_2", "index_2", "probability_2"]


@pytest.fixture
def mixed(caller: Any, photos: dict[str, Path]) -> Results[Any]:
    """The results of two photos, and the error of a missing one between them."""
    images = [photos["red"], "missing.png", photos["blue"]]
    return Results(caller.classify_many(images, model="tiny", top_k=2, return_errors=True))


def test_results_and_errors_become_rows_with_the_same_columns(mixed: Results[Any]) -> None:
    red, missing, blue = mixed.to_rows()
    assert list(red) == list(missing) == list(blue)
    assert list(red)[:7] == FIRST
    assert (red["label"], blue["label"], missing["label"]) == ("red", "blue", None)
    assert (missing["image"], missing["error_code"]) == ("missing.png", "INVALID_ARGUMENT")
    assert "check the path" in str(missing["error"])
    assert red["error"] is None
    assert red["call_seconds"] > red["infer_seconds"] > 0
    assert repr(mixed) == "<Results of 3 images, 1 failed>"
    assert [type(mixed[1:]), len(mixed[1:])] == [Results, 2]


def test_the_columns_are_those_of_the_guide(mixed: Results[Any]) -> None:
    guide = (Path(__file__).parents[3] / "docs/guides/python.md").read_text()
    table = guide.split("| columns | content |")[1].split("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = [name for cell in first_cells for name in re.findall("`(.+?)`", cell)]
    listed.remove("label_3")  # the first of those that are not listed
    assert listed == list(mixed.to_rows()[0])


def test_rows_become_tables(mixed: Results[Any], tmp_path: Path) -> None:
    pyarrow_parquet = pytest.importorskip("pyarrow.parquet")
    frame = mixed.to_pandas()
    assert list(frame.columns) == list(mixed.to_rows()[0])
    assert frame["label"].dropna().tolist() == ["red", "blue"]
    assert str(frame["version"].dtype) == "Int64"
    assert frame.groupby("label")["probability"].max().between(0.5, 1).all()
    table = mixed.to_arrow()
    assert table.column_names == list(frame.columns)
    pyarrow_parquet.write_table(table, tmp_path / "results.parquet")
    assert pyarrow_parquet.read_table(tmp_path / "results.parquet").equals(table)
    empty: Results[Any] = Results()
    assert empty.to_pandas().empty
    assert empty.to_arrow().num_rows == 0


def test_a_missing_package_is_named() -> None:
    code = (
        "import sys; sys.modules['pandas'] = sys.modules['pyarrow'] = None\n"
        "from convscope.client import Results\n"
        "for make in (Results().to_pandas, Results().to_arrow):\n"
        "    try: make()\n"
        "    except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"a table needs {package}, which isn't installed; run: pip install {package}"
        for package in ("pandas", "pyarrow")
    ]


def test_dictionaries_are_ready_for_json(explainer: Any, photos: dict[str, Path]) -> None:
    result = explainer.classify(photos["red"], model="tiny", feature_maps=["conv"], explain=1)
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain == result.to_dict()
    assert plain["image"] == str(photos["red"])
    assert plain["classes"][0]["label"] == "red"
    assert plain["feature_maps"]["conv"]["shape"] == [4, 16, 16]
    assert "array" not in plain["feature_maps"]["conv"]
    whole = json.loads(json.dumps(result.to_dict(arrays=True), allow_nan=False))
    array = result.feature_maps["conv"].array
    assert np.array_equal(np.float32(whole["feature_maps"]["conv"]["array"]), array)
    assert np.shape(whole["explanations"][0]["heat"]) == (16, 16)
    error = InternalError("broken")
    assert json.loads(json.dumps(error.to_dict()))["error"]["code"] == "INTERNAL"


def test_results_are_equal_by_content(explainer: Any, photos: dict[str, Path]) -> None:
    options: dict[str, Any] = {"model": "tiny", "feature_maps": ["conv"], "explain": 1}
    one, other = (explainer.classify(photos["red"], **options) for _ in range(2))
    assert one.request_id != other.request_id
    assert one == other
    assert len({one, other, one.feature_maps["conv"], other.feature_maps["conv"]}) == 2
    assert one.explanations[0] == other.explanations[0]
    assert one != explainer.classify(photos["blue"], **options)
    other.feature_maps["conv"].array[0, 0, 0] += 1
    assert one != other
    assert one.feature_maps["conv"] != "conv"
    assert pickle.loads(pickle.dumps(one)) == one


def test_reprs_are_one_short_line(explainer: Any, photos: dict[str, Path]) -> None:
    result = explainer.classify(photos["red"], model="tiny", feature_maps=["conv"], explain=1)
    shown = [result, result.feature_maps["conv"], result.explanations[0], explainer.model("tiny")]
    for value in shown:
        assert len(repr(value)) < 200
        assert "tiny v1" in repr(value)
        assert "\n" not in repr(value)
    assert "red.png: red " in repr(result)
    assert "conv [4, 16, 16]" in repr(shown[1])


# Request ids


def test_the_request_id_is_the_one_in_the_log(tiny_server: ServerProcess, photos: Any) -> None:
    with Client(tiny_server.target) as client:
        result = client.classify(photos["red"], model="tiny")
        many = list(client.classify_many([photos["red"]] * 3, model="tiny"))
        with pytest.raises(ConvscopeError) as caught:
            client.classify(photos["red"], model="cat")
        own = {"x-request-id": "mine"}
        assert client.classify(photos["red"], model="tiny", metadata=own).request_id == "mine"
    with Client(tiny_server.target) as client:  # the log is written in order
        client.models(metadata={"x-request-id": "last"})
    while not any(line.get("request_id") == "last" for line in tiny_server.log):
        pass
    logged = {line.get("request_id"): line.get("code") for line in tiny_server.log}
    assert logged[result.request_id] == "OK"
    assert {logged[one.request_id] for one in many} == {"OK"}
    assert logged[caught.value.request_id] == "NOT_FOUND"
    assert caught.value.image == str(photos["red"])


def test_images_of_one_request_share_its_id(tiny_server: ServerProcess, photos: Any) -> None:
    async def call() -> list[Any]:
        async with AsyncClient(tiny_server.target) as client:
            calls = [client.classify(photo, model="tiny") for photo in [photos["red"]] * 8]
            return await asyncio.gather(*calls)

    results = asyncio.run(call())
    assert len({result.request_id for result in results}) < 8
    assert all(result.call_seconds > 0 for result in results)
