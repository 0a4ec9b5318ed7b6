"""Print what KServe's Python models reject in the resources on standard input, as JSON.

It runs in an environment with the package kserve. The models reject missing fields, and this
program fields that they don't have and values of other types.
"""

import json
import re
import sys
from typing import Any

import kubernetes.client.models as kubernetes_models  # type: ignore[import-not-found]
from kserve import models as kserve_models  # type: ignore[import-not-found]

PRIMITIVES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "float": (float, int),
    "int": (int,),
    "object": (object,),
    "str": (str,),
    # Not generated, because they have types of their own in JSON.
    "IntOrString": (int, str),
    "V1beta1MetricQuantity": (int, str),
}
OF = re.compile(r"([Ll]ist|[Dd]ict)[\[(](?:str, ?)?(.+)[\])]")


def errors(value: Any, kind: str, path: str) -> list[str]:
    """Return what is wrong with a value of an OpenAPI type."""
    if kind in PRIMITIVES:
        fits = isinstance(value, PRIMITIVES[kind]) and isinstance(value, bool) <= (
            kind in ("bool", "object")
        )
        return [] if fits else [f"{path}: {value!r} is no {kind}"]
    if (match := OF.fullmatch(kind)) is not None:
        outer, inner = match.groups()
        if not isinstance(value, list if outer.lower() == "list" else dict):
            return [f"{path}: {value!r} is no {kind}"]
        members = enumerate(value) if isinstance(value, list) else value.items()
        return [e for name, member in members for e in errors(member, inner, f"{path}.{name}")]
    model = getattr(kserve_models, kind, None) or getattr(kubernetes_models, kind)
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no {kind}"]
    attributes = {name: attribute for attribute, name in model.attribute_map.items()}
    found = [f"{path}.{name}: {kind} has no such field" for name in value.keys() - attributes]
    known = {attributes[name]: member for name, member in value.items() if name in attributes}
    for attribute, member in known.items():
        name = model.attribute_map[attribute]
        found += errors(member, model.openapi_types[attribute], f"{path}.{name}")
    try:
        model(**known)
    except ValueError as error:
        found.append(f"{path}: {error}")
    return found


if __name__ == "__main__":
    resources = json.load(sys.stdin)
    kinds = {
        "ServingRuntime": "V1alpha1ServingRuntime",
        "InferenceService": "V1beta1InferenceService",
    }
    print(
        json.dumps([e for one in resources for e in errors(one, kinds[one["kind"]], one["kind"])])
    )
