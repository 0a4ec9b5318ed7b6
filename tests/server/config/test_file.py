"""The settings file: what it sets, what overrides it, and its errors."""

import os
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from support.calls import LOOPBACK, connected, rejection, run_to_end, sample, signal_request
from support.server import ServerProcess

from convscope.server.config.settings import Settings
from convscope.server.runtime.providers import ProviderPolicy

Parse = Callable[..., Settings]

WHOLE = """
[server]
models = "repository"
max_queue = 512
max_delay_seconds = 1
provider = ["cuda", "cpu"]
allow_fallback = true
tuning_cache = "here/tuning.json"

[providers.openvino]
device_type = "CPU"
num_of_threads = 4

[providers.cuda]
device_id = 1
use_tf32 = false

[models.digits]
provider = ["openvino", "cpu"]
allow_fallback = false

[models.digits.providers.openvino]
num_of_threads = 2

[models.lenet]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "convscope.toml"
    path.write_text(WHOLE)
    return path


def message(parse: Parse, tmp_path: Path, content: str) -> str:
    """The error of a file."""
    path = tmp_path / "convscope.toml"
    path.write_text(content)
    with pytest.raises(click.BadParameter) as wrong:
        parse("--models", "m", "--settings", path)
    assert wrong.value.message.startswith(f"{path}: ")
    return wrong.value.message.removeprefix(f"{path}: ")


# What it sets


def test_a_file_sets_flags(file: Path, parse: Parse) -> None:
    settings = parse("--settings", file)
    assert settings.repository.models == "repository"
    assert settings.inference.max_queue == 512
    assert settings.inference.max_delay_seconds == 1.0
    assert (settings.runtime.provider, settings.runtime.allow_fallback) == ("cuda,cpu", True)
    assert settings.runtime.tuning_cache == Path("here/tuning.json")
    assert settings.inference.max_inputs == 64  # the default


def test_a_number_is_a_text_too(tmp_path: Path, parse: Parse) -> None:
    path = tmp_path / "convscope.toml"
    path.write_text("[server]\nversions = 2")
    assert parse("--models", "m", "--settings", path).repository.versions == "2"


def test_the_environment_overrides_the_file_and_a_flag_overrides_both(
    file: Path, parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSCOPE_MAX_QUEUE", "7")
    monkeypatch.setenv("CONVSCOPE_ALLOW_FALLBACK", "false")
    monkeypatch.setenv("CONVSCOPE_SETTINGS", str(file))
    settings = parse("--models", "mine")
    assert settings.repository.models == "mine"
    assert settings.inference.max_queue == 7
    assert settings.runtime.allow_fallback is False
    assert parse("--max-queue", "9").inference.max_queue == 9


def test_the_order_of_flags_does_not_matter(file: Path, parse: Parse) -> None:
    assert parse("--max-queue", "9", "--settings", file) == parse(
        "--settings", file, "--max-queue", "9"
    )


def test_each_model_has_its_policy(file: Path, parse: Parse) -> None:
    policies = parse("--settings", file, "--cores", "3").runtime.policies()
    general = {
        "openvino": {"device_type": "CPU", "num_of_threads": "4"},
        "cuda": {"device_id": "1", "use_tf32": "False"},
    }
    assert policies.of("resnet50") == ProviderPolicy(("cuda", "cpu"), True, general, 3)
    assert policies.of("lenet") == policies.of("resnet50")
    own = general | {"openvino": {"device_type": "CPU", "num_of_threads": "2"}}
    assert policies.of("digits") == ProviderPolicy(("openvino", "cpu"), False, own, 3)


def test_an_empty_file_changes_nothing(parse: Parse) -> None:
    assert parse("--models", "m", "--settings", os.devnull) == parse("--models", "m")


# Errors

WRONG = {
    "section": ("[sever]", "sever: no section 'sever'; did you mean server?"),
    "top-level": ("max_queue = 1", "max_queue: no section 'max_queue'; there are: models, provide"),
    "flag": ("[server]\nmax_que = 1", "server.max_que: no flag 'max_que'; did you mean max_queue"),
    "dashes": (
        "[server]\nmax-queue = 1",
        "server.max-queue: no flag 'max-queue'; did you mean max_",
    ),
    "itself": ('[server]\nsettings = "x"', "server.settings: no flag 'settings'"),
    "provider": ("[providers.openvno]", "providers.openvno: no execution provider 'openvno'; did"),
    "option": (
        "[providers.cuda]\ndevice = 1",
        "providers.cuda.device: no option of cuda 'device'; did you mean device_id?",
    ),
    "option-of-cpu": ("[providers.cpu]\nthreads = 1", "providers.cpu.threads: cpu has no options"),
    "model-name": ("[models.Digits]", "models.Digits: 'Digits' is not a model's name"),
    "model-key": (
        "[models.a]\nallow_falback = true",
        "models.a.allow_falback: no key 'allow_falback'; did you mean allow_fallback?",
    ),
    "model-provider": (
        '[models.a]\nprovider = ["tensort"]',
        "models.a.provider: no execution provider 'tensort'; did you mean tensorrt?",
    ),
    "model-no-provider": ("[models.a]\nprovider = []", "models.a.provider: no provider is named"),
    "model-option": (
        "[models.a.providers.tensorrt]\ntrt_fp16 = true",
        "models.a.providers.tensorrt.trt_fp16: no option of tensorrt 'trt_fp16'; did you mean trt",
    ),
    "flag-provider": ('[server]\nprovider = "gpu"', "server.provider: no execution provider 'gpu'"),
    "number": ('[server]\nmax_queue = "9"', "server.max_queue is '9', and must be a whole number"),
    "true-for-1": ("[server]\nmax_queue = true", "server.max_queue is True, and must be a whole n"),
    "1-for-true": ("[server]\nno_tuning = 1", "server.no_tuning is 1, and must be true or false"),
    "fraction": ("[server]\ncores = 1.5", "server.cores is 1.5, and must be a whole number"),
    "seconds": ('[server]\npoll_seconds = "1"', "server.poll_seconds is '1', and must be a number"),
    "path": ("[server]\nmodels = true", "server.models is True, and must be a text"),
    "list": ("[server]\nload = [1]", "server.load is [1], and must be a list of names"),
    "text-for-list": (
        '[models.a]\nprovider = "cpu"',
        "models.a.provider is 'cpu', and must be a li",
    ),
    "value-for-table": ("models = 1", "models is 1, and must be a table, written [models]"),
    "option-list": (
        "[providers.cuda]\ndevice_id = [1]",
        "providers.cuda.device_id is [1], and must",
    ),
    "fallback": (
        "[models.a]\nallow_fallback = 1",
        "models.a.allow_fallback is 1, and must be true",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_error_names_its_place(tmp_path: Path, parse: Parse, wrong: str) -> None:
    content, expected = WRONG[wrong]
    assert message(parse, tmp_path, content).startswith(expected)


def test_a_file_that_is_not_toml(tmp_path: Path, parse: Parse) -> None:
    path = tmp_path / "convscope.toml"
    for content, reason in ((b"max_queue: 1", "is not TOML"), (b"\xff", "is not TOML")):
        path.write_bytes(content)
        with pytest.raises(click.BadParameter, match=reason):
            parse("--models", "m", "--settings", path)
    with pytest.raises(click.BadParameter, match="can't be read: No such file"):
        parse("--models", "m", "--settings", tmp_path / "nowhere.toml")


def test_a_value_out_of_range_is_named_by_its_key(tmp_path: Path) -> None:
    path = tmp_path / "convscope.toml"
    path.write_text("[server]\nmax_queue = 0")
    code, _, error = run_to_end("--models", "m", "--settings", path)
    assert code == 64
    assert f"{path}: server.max_queue: 0 is out of range; it must be 1 or more" in error
    assert "Traceback" not in error


# In a running server


def test_a_server_follows_its_file(tiny_repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "convscope.toml"
    path.write_text(
        f"""
        [server]
        models = "{tiny_repository}"
        max_inputs = 2
        [models.signal]
        provider = ["openvino", "cpu"]
        allow_fallback = true
        [models.tinny]
        """
    )
    with (
        ServerProcess(tiny_repository, "--settings", str(path)) as server,
        connected(server) as stub,
    ):
        assert "at most 2 are accepted" in rejection(stub.Classify, signal_request(3))[1]
        wanted = {"wanted": "openvino", "provider": "cpu"}
        assert sample(server, "convscope_provider_fallback", model="signal", **wanted) == 1
        assert sample(server, "convscope_provider_fallback", model="tiny") == 0
        warnings = [e["event"] for e in server.log if e.get("model") == "tinny"]
    assert warnings == ["--settings names a model that --models doesn't have; did you mean tiny?"]


def test_a_wrong_file_ends_the_start(tmp_path: Path) -> None:
    path = tmp_path / "convscope.toml"
    path.write_text("[server]\nmax_que = 1")
    code, out, error = run_to_end("--settings", path, *LOOPBACK)
    assert (code, out) == (64, "")
    assert "max_queue" in error
