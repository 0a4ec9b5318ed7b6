"""GET /v1/models, and what one model is."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import grpc
import orjson
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from convscope.client import AsyncClient, ModelInfo, ModelSummary
from convscope.open_inference import open_inference_pb2 as oip
from convscope.web.calls import Calls, until_disconnected
from convscope.web.documentation import ERRORS, MODEL_NAME
from convscope.web.errors import JSON, from_rpc, wrong_action
from convscope.web.open_inference.stub import Stub
from convscope.web.replies import LabelsReply, ModelReply, ModelsReply
from convscope.web.selection import selector
from convscope.web.settings import MAX_IMAGE_BYTES, MAX_IMAGES, WebSettings
from convscope.web.stages import is_last_of_stage, stage_numbers

__all__ = ["ModelRoutes"]

READY, UNLOADED, REJECTED = "ready", "unloaded", "rejected"
_BEST_FIRST = (READY, UNLOADED, REJECTED)
_NO_INDEX = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED)
_VERSION = Query(None, description="A version number or an alias; by default the default version.")
_MODEL = Path(description=MODEL_NAME)


class ModelRoutes:
    """Lists and describes the models.

    Args:
        settings: The limits.
        client: Calls the server.
        stub: Calls the server's Open Inference Protocol.
        calls: Reads the headers of requests.
    """

    def __init__(
        self, settings: WebSettings, client: AsyncClient, stub: Stub, calls: Calls
    ) -> None:
        self._settings = settings
        self._client = client
        self._stub = stub
        self._calls = calls

    def add_to(self, router: APIRouter) -> None:
        """Add the routes."""
        for path, route, reply, summary in (
            ("/v1/models", self.models, ModelsReply, "List the models"),
            ("/v1/models/{model}", self.model, ModelReply, "Describe a model"),
            ("/v1/models/{model}/labels", self.labels, LabelsReply, "List the classes of a model"),
        ):
            router.add_api_route(
                path,
                route,
                methods=["GET"],
                tags=["models"],
                summary=summary,
                response_model=None,
                responses={200: {"model": reply, "description": "The reply"}, **ERRORS},
            )

    async def models(self, request: Request) -> Response:
        """Return every model that the server has found, also those that it rejected."""
        summaries, index = await until_disconnected(request, self._list(request))
        return _json({"models": list(_models(summaries, index))})

    async def model(
        self, request: Request, model: str = _MODEL, version: str | None = _VERSION
    ) -> Response:
        """Return the input, preprocessing, feature maps, explanations and origin of a version."""
        info = await self._find(request, model, version)
        return _json(_describe(info, self._settings))

    async def labels(
        self, request: Request, model: str = _MODEL, version: str | None = _VERSION
    ) -> Response:
        """Return the name of each class, by index."""
        info = await self._find(request, model, version)
        return _json({"labels": info.labels})

    async def _find(self, request: Request, model: str, version: str | None) -> ModelInfo:
        if ":" in model:
            raise wrong_action(model, request.method)
        metadata = self._calls.metadata(request)
        call = self._client.model(model, **selector(version), metadata=metadata)
        return await until_disconnected(request, call)

    async def _list(
        self, request: Request
    ) -> tuple[list[ModelSummary], oip.RepositoryIndexResponse]:
        metadata = self._calls.metadata(request)
        return await asyncio.gather(self._client.models(metadata=metadata), self._index(metadata))

    async def _index(self, metadata: Sequence[tuple[str, str]]) -> oip.RepositoryIndexResponse:
        """Return the server's index; empty if it doesn't serve it, or not to this caller."""
        timeout = self._settings.timeout_seconds
        try:
            index: oip.RepositoryIndexResponse = await self._stub.repository_index(
                oip.RepositoryIndexRequest(), timeout=timeout, metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in _NO_INDEX:
                return oip.RepositoryIndexResponse()
            raise from_rpc(error) from error
        return index


def _models(
    summaries: Sequence[ModelSummary], index: oip.RepositoryIndexResponse
) -> Iterable[dict[str, Any]]:
    """Return each model of a server, from the two lists that it has."""
    versions = {(each.model, each.version): _ready(each) for each in summaries}
    for entry in index.models:
        key = entry.name, int(entry.version)
        if "." not in entry.name and key not in versions:  # the others are views of a model
            versions[key] = _other(key[1], entry)
    for name, group in groupby(sorted(versions.items()), key=lambda item: item[0][0]):
        of_model = [version for _, version in group]
        own = [each for each in summaries if each.model == name]
        state = min((version["state"] for version in of_model), key=_BEST_FIRST.index)
        yield {
            "name": name,
            "state": state,
            "ready": state != REJECTED,
            "default_version": next((each.version for each in own if each.is_default), None),
            "versions": of_model[::-1],
            "aliases": {alias: each.version for each in own for alias in each.aliases},
        }


def _ready(summary: ModelSummary) -> dict[str, Any]:
    return {
        "version": summary.version,
        "state": READY,
        "provider": summary.provider,
        "reason": "",
    }


def _other(version: int, entry: oip.RepositoryIndexResponse.ModelIndex) -> dict[str, Any]:
    state = UNLOADED if entry.state == "READY" else REJECTED
    return {"version": version, "state": state, "provider": "", "reason": entry.reason}


def _describe(info: ModelInfo, settings: WebSettings) -> dict[str, Any]:
    provenance = asdict(info.provenance)
    metrics = provenance.pop("metrics")
    return {
        "name": info.model,
        "version": info.version,
        "aliases": info.aliases,
        "is_default": info.is_default,
        "task": info.task,
        "labels": len(info.labels),
        "activation": info.activation,
        "input": _input(info),
        "preprocessing": info.preprocessing.split(", ") if info.preprocessing else [],
        "feature_maps": [
            {
                "name": spec.name,
                "shape": [spec.channels, spec.height, spec.width],
                "stride": spec.stride,
                "stage": stage,
                "is_stage": is_stage,
            }
            for spec, stage, is_stage in zip(
                info.feature_maps,
                stage_numbers(info.feature_maps),
                is_last_of_stage(info.feature_maps),
                strict=True,
            )
        ],
        "explanations": _explanations(info),
        "provider": info.provider,
        "fallback_from": info.fallback_from,
        "precision": info.precision,
        "compute_precision": info.compute_precision,
        "nonfinite_inputs": info.nonfinite_inputs,
        "execution": None if info.execution is None else asdict(info.execution),
        "provenance": provenance,
        "metrics": metrics,
        "limits": {
            "max_body_bytes": settings.max_body_bytes,
            "max_image_bytes": MAX_IMAGE_BYTES,
            "max_images": MAX_IMAGES,
            "timeout_seconds": settings.timeout_seconds,
            "max_timeout_seconds": settings.max_timeout_seconds,
        },
    }


def _input(info: ModelInfo) -> dict[str, Any]:
    is_image = info.input.kind == "image"
    height, width, channels = info.input.shape if is_image else (None, None, None)
    return {
        "kind": info.input.kind,
        "dtype": info.input.dtype,
        "shape": info.input.shape,
        "height": height,
        "width": width,
        "channels": channels,
    }


def _explanations(info: ModelInfo) -> dict[str, Any]:
    offered = info.explanations
    reason = ""
    if not info.labels:
        reason = "it has no classes"
    elif offered is None:
        reason = "its server is of an earlier version"
    elif not offered.positions:
        reason = "only occlusion: the graph has no gradients"
    return {
        "methods": offered.methods if offered else [],
        "heat": offered.positions if offered else [],
        "max_explanations": offered.max_explanations if offered else 0,
        "max_rank": offered.max_rank if offered else 0,
        "max_occluded_images": offered.max_occluded_images if offered else 0,
        "reason": reason,
    }


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type=JSON)
