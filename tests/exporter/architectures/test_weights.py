from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from convscope.exporter.architectures import find_architecture
from convscope.exporter.architectures.weights import (
    fill,
    hub_errors,
    load_efficientnet_lite0,
    read_tensors,
)
from convscope.exporter.errors import HubError, WeightsError


def network(classes: int = 10) -> nn.Module:
    return find_architecture("multi_conv").build(classes)


def test_pytorch_classifies_the_espresso(coffee: Path) -> None:
    row = find_architecture("efficientnet_lite0")
    preprocessing, labels = row.preprocessing(), row.labels()
    lite0 = row.build(len(labels))
    load_efficientnet_lite0(lite0)
    planes = torch.from_numpy(preprocessing.prepare(coffee.read_bytes())).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    with torch.inference_mode():
        probabilities = lite0.eval()(((planes - mean) / std)[None]).softmax(1)[0]
    assert labels[int(probabilities.argmax())] == "espresso"
    assert probabilities.max() >= 0.90


def test_weights_that_do_not_fit_name_the_tensors() -> None:
    other = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=7)
    with pytest.raises(WeightsError, match=r"classifier.weight \[7, 1280\]"):
        load_efficientnet_lite0(other)


WRITERS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "plain.safetensors": save_file,
    "plain.pth": torch.save,
    "wrapped.pt": lambda tensors, path: torch.save({"state_dict": tensors, "epoch": 3}, path),
    "parallel.pth": lambda tensors, path: torch.save(
        {f"module.{name}": value for name, value in tensors.items()}, path
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_weights_are_read_in_every_usual_format(tmp_path: Path, name: str) -> None:
    saved = network().state_dict()
    WRITERS[name](saved, tmp_path / name)
    fresh = network()
    fill(fresh, read_tensors(tmp_path / name), name, classes=10)
    for key, value in fresh.state_dict().items():
        assert torch.equal(value, saved[key])


class Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


def test_a_file_that_would_run_code_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"a": Malice()}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=r"save the network's state_dict\(\) instead"):
        read_tensors(tmp_path / "bad.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["noise.pth", "noise.safetensors"])
def test_an_unreadable_file_of_weights_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"noise" * 100)
    with pytest.raises(WeightsError, match=name):
        read_tensors(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no file .*absent"):
        read_tensors(tmp_path / "absent.pth")


def test_each_tensor_that_does_not_fit_is_named() -> None:
    tensors = dict(network().state_dict())
    tensors["conv1.0.weight"] = torch.zeros(10, 3, 5, 5)
    tensors["extra"] = tensors.pop("conv2.0.bias")
    with pytest.raises(WeightsError) as caught:
        fill(network(), tensors, "some.pth", classes=10)
    message = str(caught.value)
    assert message.startswith("3 tensors of some.pth don't fit")
    assert "conv1.0.weight is [10, 3, 5, 5] instead of [10, 1, 5, 5]" in message
    assert "conv2.0.bias is missing" in message
    assert "extra is unknown" in message


def test_a_different_number_of_classes_is_explained() -> None:
    with pytest.raises(WeightsError, match=r"some\.pth has 7 classes, but there are 10 labels"):
        fill(network(), network(7).state_dict(), "some.pth", classes=10)


def test_a_new_head_keeps_the_other_weights() -> None:
    given, fresh = network(7).state_dict(), network()
    head = fresh.state_dict()["dense.weight"].clone()
    fill(fresh, given, "some.pth", classes=10, new_head=True)
    filled = fresh.state_dict()
    assert torch.equal(filled["conv2.0.weight"], given["conv2.0.weight"])
    assert torch.equal(filled["dense.weight"], head)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v1"])
def test_an_unreachable_hub_is_explained_with_the_alternative(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    # urllib keeps the proxies of its first call for the whole process.
    monkeypatch.setattr("urllib.request._opener", None)
    for variable in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    published = find_architecture(name).published
    assert published is not None
    with pytest.raises(HubError, match=r"can't be downloaded from .*pass the file with --weights"):
        published()


def test_any_error_of_a_hub_becomes_a_sentence() -> None:
    with pytest.raises(HubError, match="OddError: it is down"), hub_errors("https://hub"):
        raise OddError("it is down")


class OddError(Exception):
    pass
