"""Arguments of wrong types are explained, and never end in an error of Python or gRPC."""

import asyncio
import gc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.server import ServerProcess

from convscope.client import AsyncClient, Client, InvalidInputError
from convscope.client._inputs.upright import open_upright

RED = np.full((8, 8, 3), (200, 30, 20), np.uint8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metadata": {"x-tenant": 1}}, "metadata: 'x-tenant' is not a key and a value of str"),
        ({"metadata": "x-tenant"}, "metadata is 'x-tenant'; give keys and values"),
        ({"metadata": [("a", "b", "c")]}, "metadata: one of its entries is not a key"),
        ({"metadata": 3}, "metadata is 3; give keys"),
        ({"feature_maps": 3}, r"feature_maps is 3; give a list of names, such as \['conv1'\]"),
        ({"feature_maps": None}, "feature_maps is None; give a list"),
        ({"timeout_seconds": "1"}, "timeout_seconds is '1'; give a positive, finite number of"),
        ({"version": "1"}, "version is '1'; give an integer"),
        ({"top_k": "5"}, "top_k is '5'; give an integer"),
    ],
)
def test_an_option_of_a_wrong_type(make_caller: Any, options: Any, message: str) -> None:
    caller = make_caller("localhost:1")
    with pytest.raises(InvalidInputError, match=message):
        caller.classify(RED, model="m", **options)
    with pytest.raises(InvalidInputError, match=message):
        list(caller.classify_many([RED], model="m", **options))


def test_a_secret_in_metadata_is_never_shown(make_caller: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make_caller("localhost:1").classify(RED, model="m", metadata={"authorization": b"s3cret"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("", "the path of the image is empty"),
        ("https://example.com/cat.jpg", "is a URL; download it, and give its bytes"),
    ],
)
def test_a_path_that_is_none(make_caller: Any, image: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make_caller("localhost:1").classify(image, model="m")


def test_a_photo_that_is_open_for_text(make_caller: Any, photos: dict[str, Path]) -> None:
    with (
        photos["red"].open(encoding="utf-8") as file,
        pytest.raises(InvalidInputError, match='is open for text; open it with mode "rb"'),
    ):
        make_caller("localhost:1").classify(file, model="m")


def test_pictures_are_drawn_over_images_only() -> None:
    with pytest.raises(InvalidInputError, match=r"over this image: the array is float64 \[3, 3\]"):
        open_upright(np.zeros((3, 3)))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="over a value of type int"):
        open_upright(3)  # type: ignore[arg-type]


def test_the_settings_of_a_local_client_are_a_mapping(tiny_repository: Path) -> None:
    with pytest.raises(InvalidInputError, match="settings is 3; give a dict"):
        Client.local(tiny_repository, settings=3)  # type: ignore[arg-type]


def test_a_stream_has_no_positions(make_caller: Any) -> None:
    results = make_caller("localhost:1").client.classify_many([RED], model="m")
    with pytest.raises(TypeError, match=r"has no positions; .*collect\(\) for a list"):
        results[0]


def test_an_unused_stream_leaves_nothing_behind(tiny_server: ServerProcess) -> None:
    async def main() -> None:
        async with AsyncClient(tiny_server.target) as client:
            client.classify_many([RED])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()
