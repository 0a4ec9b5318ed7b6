"""HOST:PORT."""

import pytest

from convscope.server.frontend.addresses import is_loopback, split_address


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("127.0.0.1:8001", "127.0.0.1", 8001), ("[::1]:0", "[::1]", 0), ("a.b:65535", "a.b", 65535)],
)
def test_address(address: str, host: str, port: int) -> None:
    assert split_address(address) == (host, port)


@pytest.mark.parametrize("address", ["", "8001", ":8001", "host:", "host:-1", "host:65536", "h:x"])
def test_other_text_is_rejected(address: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT, such as"):
        split_address(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("localhost:1", True), ("127.8.9.1:1", True), ("[::1]:1", True), ("[::]:1", False)],
)
def test_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected
