import pytest

from convscope.exporter.architectures import find_architecture
from convscope.exporter.errors import ExporterError


def test_unsupported_channels_are_rejected() -> None:
    lenet = find_architecture("lenet")
    assert [lenet.fitting_channels(count) for count in (1, 3)] == [1, 3]
    assert find_architecture("resnet18").fitting_channels(1) == 3
    with pytest.raises(ExporterError, match="takes 3 or 1 channels, and the dataset has 4"):
        lenet.fitting_channels(4)
