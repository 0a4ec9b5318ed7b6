"""The execution provider is the one asked for, or the bundle is refused."""

from pathlib import Path

import onnxruntime as ort
import pytest
from support.loading import load

from convscope.server.repository.catalog import Target

GPU = pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="CUDA is to be had here"
)


def test_provider_in_use_is_named(root: Path) -> None:
    assert load(root).resolve(Target("good")).model.provider == "cpu"


@GPU
def test_provider_that_is_not_to_be_had_refuses_the_bundle(root: Path) -> None:
    (refusal,) = load(root, providers=("cuda", "cpu")).refusals
    assert refusal.reason == "provider"
    assert "'cuda' is not to be had here" in refusal.message
    assert "convscope[server-gpu]" in refusal.message
    assert "or allow the fallback" in refusal.message


@GPU
@pytest.mark.parametrize("providers", [("cuda",), ("cuda", "cpu"), ("tensorrt", "cuda", "cpu")])
def test_fallback_is_taken_if_allowed_and_told(root: Path, providers: tuple[str, ...]) -> None:
    repository = load(root, providers=providers, allow_fallback=True)
    assert repository.resolve(Target("good")).model.provider == "cpu"


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "CPUExecutionProvider"])
@pytest.mark.parametrize("allow_fallback", [False, True])
def test_unknown_provider_lists_those_there_are(
    root: Path, name: str, allow_fallback: bool
) -> None:
    (refusal,) = load(root, providers=(name,), allow_fallback=allow_fallback).refusals
    assert refusal.reason == "provider"
    assert refusal.message == (
        f"no execution provider {name!r}; there are: cpu, cuda, tensorrt, openvino"
    )
