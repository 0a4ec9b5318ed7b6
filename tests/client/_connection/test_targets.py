"""Which targets are accepted, and what is wrong with the others."""

import pytest

from convscope.client import AdminClient, AsyncClient, Client, InvalidInputError
from convscope.client._connection.targets import check_target


@pytest.mark.parametrize(
    "target",
    [
        *("localhost:8001", "10.0.0.1:1", "my-host.example:65535", "[::1]:8001"),
        *("dns:///convscope:8001", "dns:convscope:8001", "dns://8.8.8.8/convscope:8001"),
        *("ipv4:10.0.0.1:8001,10.0.0.2:8001", "ipv6:[::1]:8001", "passthrough:///host:8001"),
        *("unix:/run/convscope", "unix:relative.sock", "unix:///run/convscope", "unix-abstract:a"),
        *("xds:///convscope", "vsock:2:8001"),
    ],
)
def test_forms_of_grpc_are_accepted(target: str) -> None:
    assert check_target(target) == target


@pytest.mark.parametrize(
    ("target", "fix", "reason"),
    [
        ("localhost", "localhost:8001", "the port is missing"),
        ("localhost:", "localhost:8001", "the port is missing"),
        ("localhost:abc", "localhost:8001", "the port 'abc' is not a number from 1 to 65535"),
        ("localhost:0", "localhost:8001", "the port '0' is not"),
        ("localhost:70000", "localhost:8001", "the port '70000' is not"),
        ("localhost:-1", "localhost:8001", "the port '-1' is not"),
        (":9000", "localhost:9000", "the host is missing"),
        ("", "localhost:8001", "it is empty"),
        (" ", "localhost:8001", "it is empty"),
        ("localhost:8001 ", "localhost:8001", "without a space"),
        ("http://gpu:9001", "gpu:9001", "without http://"),
        ("https://gpu/models", "gpu:8001", "without https://"),
        ("grpc://gpu:9001", "gpu:9001", "without grpc://"),
        ("gpu:9001/models", "gpu:9001", "without a path"),
        ("::1:8001", "[::1]:8001", "the brackets of an IPv6 address are missing"),
        ("[::1]", "[::1]:8001", "the port is missing"),
        ("dns:///convscope", "convscope:8001", "the port is missing"),
        ("ipv4:10.0.0.1:1,10.0.0.2", "10.0.0.2:8001", "the port is missing"),
        ("unix:", "localhost:8001", "the path of the socket is missing"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient, AdminClient])
def test_a_client_of_a_wrong_target_is_not_made(
    target: str, fix: str, reason: str, kind: type[Client]
) -> None:
    with pytest.raises(InvalidInputError) as info:
        kind(target)
    shown = f"the target is {target!r}; give HOST:PORT, such as {fix} ({reason}"
    assert info.value.message.startswith(shown)


@pytest.mark.parametrize("target", [None, 8001, ("localhost", 8001), b"localhost:8001"])
def test_a_target_is_text(target: object) -> None:
    with pytest.raises(InvalidInputError, match="give HOST:PORT as a str"):
        Client(target)  # type: ignore[arg-type]
