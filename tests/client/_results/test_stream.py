"""What `classify_many` returns: an iterator that also becomes a list or a table."""

import asyncio
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.server import ServerProcess

from convscope.client import AsyncClient, Client, InvalidInputError


@pytest.fixture
def client(tiny_server: ServerProcess) -> Iterator[Client]:
    with Client(tiny_server.target, model="tiny") as client:
        yield client


@pytest.fixture
def images(photos: dict[str, Path]) -> list[Path]:
    return [photos["red"], photos["green"], photos["blue"]]


def test_its_repr_shows_how_far_it_is(client: Client, images: list[Path]) -> None:
    results = client.classify_many(images)
    assert repr(results) == (
        "<ResultStream of tiny: 0 results so far; iterate over it, or call collect()>"
    )
    next(results)
    assert "1 result so far" in repr(results)
    assert len(list(results)) == 2
    assert repr(results) == "<ResultStream of tiny: 3 results, all returned>"


def test_nothing_is_read_before_the_first_result(client: Client, images: list[Path]) -> None:
    taken = []

    def reading() -> Iterator[Path]:
        for image in images:
            taken.append(image)
            yield image

    results = client.classify_many(reading())
    assert repr(results)
    assert results._repr_html_() is None
    assert taken == []
    assert [result.top.label for result in results] == ["red", "green", "blue"]


def test_it_becomes_tables_as_often_as_needed(client: Client, images: list[Path]) -> None:
    pytest.importorskip("pandas")
    results = client.classify_many([*images, "missing.png"], return_errors=True)
    frame = results.to_pandas()
    assert frame["label"].dropna().tolist() == ["red", "green", "blue"]
    assert results.to_arrow().column_names == list(frame.columns)
    assert [row["image"] for row in results.to_rows()] == [*map(str, images), "missing.png"]
    assert results.to_dicts()[3]["error"]["code"] == "INVALID_ARGUMENT"
    assert repr(results.collect()) == "<Results of 4 images, 1 failed>"
    assert len(list(results)) == len(list(results)) == 4
    assert repr(results) == "<ResultStream of tiny: 4 results>"
    assert "<table" in (results._repr_html_() or "")


def test_a_table_never_lacks_results_that_were_returned_before(
    client: Client, images: list[Path]
) -> None:
    results = client.classify_many(images)
    next(results)
    with pytest.raises(InvalidInputError, match=r"has already returned 1 result, and.*collect\(\)"):
        results.to_rows()
    assert len(list(results)) == 2
    with pytest.raises(InvalidInputError, match="has ended after 3 results, and it keeps none"):
        results.to_rows()


def test_the_asynchronous_one_does_the_same(tiny_server: ServerProcess, images: list[Path]) -> None:
    pytest.importorskip("pandas")

    async def main() -> None:
        async with AsyncClient(tiny_server.target, model="tiny") as client:
            results = client.classify_many(images)
            assert "call await collect()" in repr(results)
            assert (await results.to_pandas())["label"].tolist() == ["red", "green", "blue"]
            assert (await results.to_arrow()).num_rows == 3
            assert len(await results.to_rows()) == len(await results.to_dicts()) == 3
            assert [result.top.label async for result in results] == ["red", "green", "blue"]
            other = client.classify_many(images)
            await anext(other)
            await other.aclose()
            assert [result async for result in other] == []
            with pytest.raises(InvalidInputError, match="has ended after 1 result,"):
                await other.collect()

    asyncio.run(main())


def test_an_error_states_which_image_it_is_of(caller: Any, photos: dict[str, Path]) -> None:
    images = [photos["red"], photos["green"], b"no image", np.zeros((2, 2, 3)), photos["red"]]
    outcomes = list(caller.classify_many(images, model="tiny", return_errors=True))
    assert [getattr(outcome, "index", None) for outcome in outcomes] == [None, None, 2, 3, None]
    with pytest.raises(InvalidInputError) as info:
        list(caller.classify_many([photos["red"], "nowhere.png"], model="tiny"))
    assert (info.value.image, info.value.index) == ("nowhere.png", 1)
    shown = "".join(traceback.format_exception_only(info.value))
    assert shown.endswith("The image at index 1: nowhere.png\n")


def test_a_single_image_is_never_taken_for_many(
    caller: Any, photos: dict[str, Path], tmp_path: Path
) -> None:
    color = np.zeros((30, 40, 3), np.uint8)
    for image in ("a.png", b"x", memoryview(b"x"), color, color[:, :, 0]):
        with pytest.raises(InvalidInputError, match=r"single image.*put it in a list"):
            caller.classify_many(image, model="tiny")
    with photos["red"].open("rb") as file, pytest.raises(InvalidInputError, match="single image"):
        caller.classify_many(file, model="tiny")
    with pytest.raises(InvalidInputError, match=r"the folder .*glob\('\*.jpg'\)"):
        caller.classify_many(tmp_path, model="tiny")
    with pytest.raises(InvalidInputError, match="images is 7; give a list"):
        caller.classify_many(7, model="tiny")
    assert len(list(caller.classify_many(np.stack([color] * 3), model="tiny"))) == 3


async def test_a_single_image_is_an_error_before_the_model_is_known() -> None:
    async with AsyncClient("localhost:1") as client:
        with pytest.raises(InvalidInputError, match=r"single image.*put it in a list"):
            client.classify_many("photo.jpg")
