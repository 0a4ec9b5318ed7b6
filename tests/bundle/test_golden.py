"""A golden file that isn't what the manifest calls for is rejected, and never unpickled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.alterations import Arrays, rewrite_golden
from support.bundles import check_bundle, rejection
from support.tiny import seal, write_extractor, write_signal, write_tiny

from convscope.bundle.golden import golden_arrays, parse_golden
from convscope.bundle.reader import read_bundle
from convscope.v1 import manifest_pb2 as pb

MEANS = "feature_map_means/conv"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny(tmp_path)


def rejected(bundle: Path, change: Callable[[Arrays], Any]) -> str:
    rewrite_golden(bundle, change)
    error = rejection(bundle)
    assert error.reason == "golden"
    return error.message


def with_array(name: str, array: NDArray[np.generic]) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: array})


def test_arrays_are_read_as_they_were_written(bundle: Path) -> None:
    with np.load(bundle / "golden.npz") as stored:
        arrays = dict(stored)
    inputs = [arrays[f"input_{index}"].tobytes() for index in range(3)]
    probabilities = np.concatenate([arrays["probabilities"]] * 2)  # further rows are left out
    maps = np.ones((6, 4, 2, 2), np.float32)
    written = golden_arrays(inputs, {"probabilities": probabilities, "conv": maps})
    assert sorted(written) == sorted(["input_0", "input_1", "input_2", "probabilities", MEANS])

    def replace(arrays: Arrays) -> None:
        arrays.clear()
        arrays.update(written)

    rewrite_golden(bundle, replace)
    golden = check_bundle(bundle)[2]
    assert [one.tobytes() for one in golden.inputs] == inputs
    np.testing.assert_array_equal(golden.probabilities, arrays["probabilities"])
    np.testing.assert_array_equal(golden.feature_map_means["conv"], np.ones((3, 4)))


def test_filters_have_no_probabilities(tmp_path: Path) -> None:
    golden = check_bundle(write_extractor(tmp_path, "filters"))[2]
    assert golden.probabilities is None
    assert list(golden.feature_map_means) == ["conv"]


@pytest.mark.parametrize("name", ["input_0", "input_2", "probabilities", MEANS])
def test_missing_array_is_rejected(bundle: Path, name: str) -> None:
    assert f"golden.npz lacks {name!r};" in rejected(bundle, lambda arrays: arrays.pop(name))


def test_more_inputs_stated_than_stored_is_rejected(tmp_path: Path) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.golden.inputs = 99

    error = rejection(write_tiny(tmp_path, alter_manifest=alter))
    assert "golden.npz lacks 'input_3';" in error.message


@pytest.mark.parametrize("shape", [(2, 3), (3, 4), (9,)])
def test_other_number_of_probabilities_is_rejected(bundle: Path, shape: tuple[int, ...]) -> None:
    message = rejected(bundle, with_array("probabilities", np.full(shape, 0.25, np.float32)))
    assert f"golden.npz has float32 {list(shape)} for 'probabilities'" in message
    assert "calls for float32 [3, 3]" in message


@pytest.mark.parametrize("shape", [(3, 9), (3,), (3, 4, 1)])
def test_means_of_another_shape_are_rejected(bundle: Path, shape: tuple[int, ...]) -> None:
    message = rejected(bundle, with_array(MEANS, np.ones(shape, np.float32)))
    assert f"golden.npz has float32 {list(shape)} for {MEANS!r}" in message


@pytest.mark.parametrize("name", ["probabilities", MEANS])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_outputs_that_are_not_finite_are_rejected(bundle: Path, name: str, value: float) -> None:
    def change(arrays: Arrays) -> None:
        arrays[name] = np.full(arrays[name].shape, value, np.float64)

    message = rejected(bundle, change)
    assert "not finite" in message


def test_image_that_is_not_bytes_is_rejected(bundle: Path) -> None:
    message = rejected(bundle, with_array("input_1", np.zeros((16, 16, 3), np.uint8)))
    assert "golden input 1 is uint8 [16, 16, 3]; the manifest calls for uint8 [bytes]" in message


def test_tensor_of_another_shape_is_rejected(tmp_path: Path) -> None:
    bundle = write_signal(tmp_path)
    message = rejected(bundle, with_array("input_0", np.zeros((3, 7), np.float32)))
    assert "golden input 0 is float32 [3, 7]" in message


def test_pickled_array_is_rejected_unread(bundle: Path) -> None:
    with (bundle / "golden.npz").open("wb") as file:
        np.savez(file, input_0=np.array([print], dtype=object))
    seal(bundle)
    assert "golden.npz can't be read as arrays" in rejection(bundle).message


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_anything_else_is_rejected(bundle: Path, data: bytes) -> None:
    (bundle / "golden.npz").write_bytes(data)
    seal(bundle)
    assert rejection(bundle).reason == "golden"


def test_single_array_is_rejected(bundle: Path) -> None:
    with (bundle / "golden.npz").open("wb") as file:
        np.save(file, np.zeros(3), allow_pickle=False)
    seal(bundle)
    assert rejection(bundle).reason == "golden"


def test_smaller_floats_are_accepted(bundle: Path) -> None:
    rewrite_golden(bundle, lambda arrays: arrays.update({MEANS: arrays[MEANS].astype(np.float16)}))
    golden = parse_golden((bundle / "golden.npz").read_bytes(), read_bundle(bundle).manifest)
    assert golden.feature_map_means["conv"].dtype == np.float32
