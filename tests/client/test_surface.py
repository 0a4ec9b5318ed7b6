"""The public names, and the packages that the client may import."""

import inspect
import pydoc
import subprocess
import sys
from typing import get_type_hints

import pytest

import convscope.client
from convscope.client import AsyncClient, Client
from convscope.client._calls.options import ClassifyManyOptions, ClassifyOptions, RequestOptions

PUBLIC = [
    "AdminClient",
    "AsyncClient",
    "AsyncResultStream",
    "ClassLike",
    "ClassScore",
    "Classification",
    "Client",
    "ConvscopeError",
    "DeadlineExceededError",
    "Execution",
    "Explain",
    "ExplainLike",
    "Explanation",
    "ExplanationInfo",
    "FailedPreconditionError",
    "FeatureMap",
    "FeatureMapInfo",
    "FeatureMapSelection",
    "Health",
    "ImageCrop",
    "ImageLike",
    "InputInfo",
    "InternalError",
    "InvalidInputError",
    "Metric",
    "ModelInfo",
    "ModelStatus",
    "ModelSummary",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "Priority",
    "Provenance",
    "ProviderCandidate",
    "Rank",
    "Resize",
    "ResultStream",
    "Results",
    "Retries",
    "ServerInfo",
    "ServerLimits",
    "StageSeconds",
    "Tensor",
    "TrafficSplit",
    "UnauthenticatedError",
    "UnavailableError",
    "UnknownNameError",
    "VersionStatus",
    "from_float",
]
BULK = {"priority": "bulk"}
METHODS = [
    *("classify", "classify_many", "close", "health", "local", "model", "models"),
    *("server_info", "wait_ready"),
]
PROPERTIES = ["channel"]


def test_the_public_names_are_pinned() -> None:
    assert convscope.client.__all__ == PUBLIC
    assert sorted(PUBLIC) == PUBLIC
    assert all(hasattr(convscope.client, name) for name in PUBLIC)
    others = {name for name in vars(convscope.client) if not name.startswith("_")} - {*PUBLIC}
    assert all(inspect.ismodule(getattr(convscope.client, name)) for name in others), others


@pytest.mark.parametrize("method", METHODS)
def test_both_clients_have_the_same_signatures(method: str) -> None:
    blocking, asynchronous = (
        inspect.signature(getattr(client, method), eval_str=True)
        for client in (Client, AsyncClient)
    )
    assert blocking.parameters == asynchronous.parameters


def test_the_keyword_arguments_are_the_fields_of_the_options() -> None:
    hints = get_type_hints(RequestOptions)
    assert {"model": str} | get_type_hints(ClassifyOptions) == hints
    many = get_type_hints(ClassifyManyOptions)
    assert {name: many[name] for name in hints} == hints | {"model": str | None}
    parameters = inspect.signature(Client.classify_many, eval_str=True).parameters
    for name in many.keys() - hints.keys():
        assert parameters[name].annotation == many[name]


@pytest.mark.parametrize(("method", "different"), [("classify", {}), ("classify_many", BULK)])
def test_the_signatures_show_the_options_with_their_defaults(
    method: str, different: dict[str, str]
) -> None:
    shown = inspect.signature(getattr(Client, method)).parameters
    options = inspect.signature(RequestOptions).parameters
    for name in options.keys() - {"model"}:
        assert shown[name].default == different.get(name, options[name].default)


def test_only_the_asynchronous_client_coalesces() -> None:
    blocking, asynchronous = (
        inspect.signature(client, eval_str=True).parameters for client in (Client, AsyncClient)
    )
    assert list(asynchronous) == [*blocking, "coalesce"]
    assert all(asynchronous[name] == parameter for name, parameter in blocking.items())


def test_help_and_tracebacks_name_no_private_module() -> None:
    for name in PUBLIC:
        value = getattr(convscope.client, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__ == "convscope.client"
    for method in METHODS:
        for client in (Client, AsyncClient):
            shown = pydoc.plain(pydoc.render_doc(getattr(client, method)))
            signature = shown.splitlines()[2]
            assert "._" not in signature, signature


def test_both_clients_have_the_same_public_methods() -> None:
    blocking, asynchronous = (
        {name for name in dir(client) if not name.startswith("_")}
        for client in (Client, AsyncClient)
    )
    assert blocking == asynchronous
    assert blocking == {*METHODS, *PROPERTIES}


def test_the_client_imports_neither_a_runtime_nor_other_rooms() -> None:
    code = (
        "import sys, convscope.client, convscope.client.cli; "
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'convscope.server', "
        "'convscope.exporter') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
