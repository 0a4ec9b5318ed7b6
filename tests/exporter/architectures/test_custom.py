from pathlib import Path

import pytest
import torch
from torch import nn

from convscope.exporter.architectures.custom import custom_architecture
from convscope.exporter.errors import NetworkError
from convscope.exporter.preprocessing import ImagePreprocessing

IMAGES = ImagePreprocessing(height=8, width=8, mean=(0.0,) * 3, std=(1.0,) * 3)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_a_factory_receives_the_classes_and_channels_it_has_parameters_for(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "from torch import nn\n"
        "def tiny(num_classes, in_channels=1):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))\n",
    )
    row = custom_architecture(f"{path}:tiny", IMAGES)
    assert row.name == "tiny"
    assert row.build(7)(torch.zeros(2, 3, 8, 8)).shape == (2, 7)


def test_a_file_may_import_its_neighbors(tmp_path: Path) -> None:
    (tmp_path / "blocks_of_mine.py").write_text("from torch.nn import Flatten as Block\n")
    path = write(tmp_path, "from blocks_of_mine import Block\n\ndef net():\n    return Block()\n")
    built = custom_architecture(f"{path}:net", IMAGES).build(2)
    assert isinstance(built, nn.Flatten)


@pytest.mark.parametrize(
    ("text", "factory", "reason"),
    [
        ("x = 1\n", "", "names no factory"),
        ("x = 1\n", "net", "has no factory 'net': it defines no function and no class"),
        ("def other():\n    pass\n", "net", "has no factory 'net'; it has: other"),
        ("1 / 0\n", "net", "can't be run: ZeroDivisionError"),
        ("def net():\n    return 3\n", "net", "returned a value of type int"),
        ("def net():\n    raise KeyError('x')\n", "net", "failed: KeyError"),
        (
            "from torch.nn import LazyLinear\n\n\ndef net():\n    return LazyLinear(3)\n",
            "net",
            "lazy modules without a shape; run one input",
        ),
        (
            "import warnings\n\nimport torch\n\n\ndef net():\n"
            "    warnings.simplefilter('ignore')\n"
            "    return torch.jit.trace(torch.nn.Flatten(), torch.zeros(2, 3))\n",
            "net",
            "returned TorchScript, which can't be converted",
        ),
    ],
)
def test_an_invalid_file_is_explained(tmp_path: Path, text: str, factory: str, reason: str) -> None:
    name = f"{write(tmp_path, text)}:{factory}".rstrip(":")
    with pytest.raises(NetworkError, match=reason):
        custom_architecture(name, IMAGES).build(2)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"no file .*absent\.py"):
        custom_architecture(f"{tmp_path}/absent.py:net", IMAGES)


@pytest.mark.parametrize("wrapper", ["nn.DataParallel", "torch.compile"])
def test_the_wrapper_of_a_network_is_removed(tmp_path: Path, wrapper: str) -> None:
    path = write(
        tmp_path,
        f"import torch\nfrom torch import nn\n\n\ndef net():\n"
        f"    return {wrapper}(nn.Sequential(nn.Flatten()))\n",
    )
    built = custom_architecture(f"{path}:net", IMAGES).build(2)
    assert type(built) is nn.Sequential
