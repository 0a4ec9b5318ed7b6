"""Every derivative rule is exact, and the gate notices a rule that is wrong by a factor."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike
from support.heads import Case, Node, channel_weights, classifier, images, one, random_values

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.attach import Explanation, attach
from convscope.exporter.explanations.checks import check_differences, check_values
from convscope.exporter.explanations.context import Context, Gradients
from convscope.exporter.explanations.cotangents import Cotangent, Spread
from convscope.exporter.explanations.rules import LAZY_RULES, RULES
from convscope.exporter.explanations.running import HeatRun, HeatRunner
from convscope.exporter.graphs.static_graph import static_graph

TARGETS = (-1, -2, 0)


def positive(kind: str, *constants: str) -> Case:
    """Return the case of an operator that takes positive values: of |x| + 1."""
    nodes: list[Node] = [
        ("Abs", ["x"], ["size"], {}),
        ("Add", ["size", "unit"], ["more"], {}),
        (kind, ["more", *constants], ["y"], {}),
    ]
    return Case(nodes, {"unit": 1.0})


def with_constants(case: Case, **constants: ArrayLike) -> Case:
    return Case(case.nodes, {**case.constants, **constants}, case.opset)


def after_tanh(case: Case, **constants: ArrayLike) -> Case:
    """Return the case after Tanh: a normalization alone doesn't change if a channel is shifted."""
    kind, inputs, outputs, attributes = case.nodes[0]
    nodes: list[Node] = [
        ("Tanh", ["x"], ["t"], {}),
        (kind, ["t", *inputs[1:]], outputs, attributes),
    ]
    return with_constants(Case(nodes), **constants)


def pair(kind: str) -> Case:
    """Return the case of an operator of two tensors that both vary."""
    return Case([("Sigmoid", ["x"], ["s"], {}), (kind, ["x", "s"], ["y"], {})])


def scaled_by_channel(kind: str, shape: Sequence[int]) -> Case:
    return with_constants(one(kind, "c"), c=random_values(*shape))


def groups(scales: int, opset: int) -> Case:
    """Return the case of a GroupNormalization with one scale per channel, or per group."""
    inputs = ["t", "scale", "bias"]
    nodes: list[Node] = [
        ("Tanh", ["x"], ["t"], {}),
        ("GroupNormalization", inputs, ["y"], {"num_groups": 2}),
    ]
    values = {"scale": random_values(scales), "bias": random_values(scales)}
    return Case(nodes, values, opset, step=1e-3)


def indexed(cells: ArrayLike) -> Case:
    """Return the case of x[:, :, rows, columns], as PyTorch exports it."""
    nodes: list[Node] = [
        ("Transpose", ["x"], ["t"], {"perm": [2, 3, 0, 1]}),
        ("GatherND", ["t", "cells"], ["g"], {}),
        ("Transpose", ["g"], ["y"], {"perm": [2, 3, 0, 1]}),
    ]
    return Case(nodes, {"cells": cells})


def whole_maps() -> list[Case]:
    """Return the cases of convolutions over the whole map, and of some that are not quite."""
    dense = {"w": random_values(7, 4, 5, 6), "b": random_values(7), "v": random_values(5, 7, 1, 1)}
    wide: list[Node] = [("Conv", ["x", "w", "b"], ["c"], {"strides": [2, 3]})]
    mlp: list[Node] = [*wide, ("Relu", ["c"], ["r"], {}), ("Conv", ["r", "v"], ["y"], {})]
    same: list[Node] = [
        ("AveragePool", ["x"], ["a"], {"kernel_shape": [1, 1]}),
        ("Conv", ["a", "w"], ["y"], {}),
    ]
    turned: list[Node] = [
        ("Transpose", ["x"], ["t"], {"perm": [0, 2, 3, 1]}),
        ("Conv", ["t", "u"], ["y"], {}),
    ]
    flat: list[Node] = [
        ("Reshape", ["x", "sizes"], ["f"], {}),
        ("Conv", ["f", "k"], ["y"], {"auto_pad": "VALID"}),
    ]
    padded = one("Conv", "w", strides=[6, 7], pads=[1, 1, 0, 0])
    behind = one("Conv", "w", strides=[6, 7], pads=[0, 0, 1, 1])
    dilated = one("Conv", "w", dilations=[2, 2], pads=[0, 0, 4, 5])
    return [
        Case(mlp, dense),
        Case(same, dense),
        Case(turned, {"u": random_values(3, 5, 6, 4)}),
        Case(flat, {"sizes": [0, 40, 3], "k": random_values(7, 40, 3)}),
        with_constants(one("Conv", "w", group=2), w=random_values(6, 2, 5, 6)),
        with_constants(one("Conv", "w", group=4), w=random_values(4, 1, 5, 6)),
        *(Case(case.nodes, dense) for case in (padded, behind, dilated)),
        with_constants(one("Conv", "w"), w=random_values(3, 4, 4, 6)),
    ]


FILTERS = random_values(6, 2, 3, 3)
CASES: dict[str, list[Case]] = {
    "Abs": [one("Abs")],
    "Add": [pair("Add"), scaled_by_channel("Add", (1, 4, 1, 1))],
    "AveragePool": [
        one("AveragePool", kernel_shape=[2, 3], strides=[2, 1]),
        one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        one("AveragePool", kernel_shape=[3, 3], pads=[1, 0, 1, 1], count_include_pad=1),
        one("AveragePool", kernel_shape=[5, 6]),
        one("AveragePool", kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
        # Reads every second cell; the last ones are padding.
        one(
            "AveragePool",
            kernel_shape=[5, 6],
            dilations=[2, 2],
            pads=[0, 0, 4, 5],
            count_include_pad=1,
        ),
    ],
    "BatchNormalization": [
        with_constants(
            one("BatchNormalization", "scale", "bias", "mean", "variance"),
            scale=random_values(4),
            bias=random_values(4),
            mean=random_values(4),
            variance=np.abs(random_values(4)) + 0.5,
        )
    ],
    "Cast": [one("Cast", to=onnx.TensorProto.FLOAT)],
    "Clip": [with_constants(one("Clip", "low", "high"), low=-0.5, high=0.5)],
    "Concat": [Case([("Relu", ["x"], ["r"], {}), ("Concat", ["x", "r"], ["y"], {"axis": 1})])],
    "Conv": [
        with_constants(one("Conv", "w", group=2, pads=[1, 1, 1, 1]), w=FILTERS),
        with_constants(one("Conv", "w", group=2, strides=[2, 3]), w=FILTERS),
        with_constants(one("Conv", "w", group=2, dilations=[2, 2], pads=[2, 1, 0, 2]), w=FILTERS),
        with_constants(one("Conv", "w", group=2, auto_pad="SAME_LOWER", strides=[2, 2]), w=FILTERS),
        with_constants(one("Conv", "w", group=4), w=random_values(4, 1, 2, 2)),
        *whole_maps(),
    ],
    "DepthToSpace": [one("DepthToSpace", blocksize=2)],
    "Div": [
        scaled_by_channel("Div", (1, 4, 1, 1)),
        Case([("Exp", ["x"], ["e"], {}), ("Div", ["x", "e"], ["y"], {})]),
    ],
    "Dropout": [one("Dropout")],
    "Elu": [one("Elu", alpha=0.7)],
    "Erf": [replace(one("Erf"), step=1e-3)],
    "Exp": [one("Exp")],
    "Expand": [
        Case(
            [("GlobalAveragePool", ["x"], ["m"], {}), ("Expand", ["m", "sizes"], ["y"], {})],
            {"sizes": [1, 4, 2, 3]},
        )
    ],
    "Flatten": [one("Flatten")],
    "Gather": [
        with_constants(one("Gather", "i", axis=1), i=[2, 0, 3, 1]),
        with_constants(one("Gather", "i", axis=2), i=[1, 2]),
        with_constants(one("Gather", "i", axis=3), i=-1),
        with_constants(one("Gather", "i", axis=2), i=[4, 0, 0, 2, -1]),
        with_constants(one("Gather", "i", axis=3), i=[1, 3]),
        indexed([[[0, 1], [4, 5]], [[4, 5], [-1, 2]]]),
    ],
    "Gelu": [replace(one("Gelu"), step=1e-3), one("Gelu", approximate="tanh")],
    "Gemm": [
        Case(
            [("Flatten", ["x"], ["f"], {}), ("Gemm", ["f", "w", "b"], ["y"], {"alpha": 0.5})],
            {"w": random_values(120, 5), "b": random_values(5)},
        ),
        Case(
            [("Flatten", ["x"], ["f"], {}), ("Gemm", ["f", "w"], ["y"], {"transB": 1})],
            {"w": random_values(5, 120)},
        ),
    ],
    "GlobalAveragePool": [one("GlobalAveragePool")],
    "GlobalMaxPool": [one("GlobalMaxPool")],
    "GroupNormalization": [groups(4, opset=22), groups(2, opset=18)],
    "HardSigmoid": [one("HardSigmoid", alpha=0.3)],
    "HardSwish": [one("HardSwish")],
    "Identity": [one("Identity")],
    "InstanceNormalization": [
        after_tanh(
            one("InstanceNormalization", "scale", "bias"),
            scale=random_values(4),
            bias=random_values(4),
        )
    ],
    "LRN": [one("LRN", size=3, alpha=0.4, beta=0.6, bias=1.5)],
    "LayerNormalization": [
        after_tanh(
            one("LayerNormalization", "scale", "bias", axis=2),
            scale=random_values(5, 6),
            bias=random_values(5, 6),
        )
    ],
    "LeakyRelu": [one("LeakyRelu", alpha=0.2)],
    "Log": [positive("Log")],
    "LogSoftmax": [one("LogSoftmax", axis=1)],
    "MatMul": [
        scaled_by_channel("MatMul", (6, 3)),
        Case(
            [("Flatten", ["x"], ["f"], {}), ("MatMul", ["f", "w"], ["y"], {})],
            {"w": random_values(120, 5)},
        ),
        Case(
            [("Transpose", ["x"], ["t"], {"perm": [0, 1, 3, 2]}), ("MatMul", ["x", "t"], ["y"], {})]
        ),
    ],
    "Max": [pair("Max"), scaled_by_channel("Max", (1, 4, 1, 1)), one("Max", "x")],
    "MaxPool": [
        one("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
        replace(one("MaxPool", kernel_shape=[2, 2], strides=[2, 3]), opset=13),
        one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    ],
    "Min": [pair("Min")],
    "Mish": [one("Mish")],
    "Mul": [pair("Mul"), scaled_by_channel("Mul", (1, 4, 1, 1))],
    "Neg": [one("Neg")],
    "PRelu": [scaled_by_channel("PRelu", (4, 1, 1))],
    "Pad": [
        with_constants(one("Pad", "pads"), pads=[0, 0, 1, 0, 0, 1, 2, 0]),
        with_constants(one("Pad", "pads"), pads=[0, 0, -1, 0, 0, 0, 0, 1]),
    ],
    "Pow": [
        with_constants(one("Pow", "two"), two=2.0),
        with_constants(positive("Pow", "p"), p=1.7),
    ],
    "Reciprocal": [positive("Reciprocal")],
    "ReduceL2": [with_constants(one("ReduceL2", "axes"), axes=[2, 3])],
    "ReduceMax": [with_constants(one("ReduceMax", "axes", keepdims=0), axes=[1])],
    "ReduceMean": [
        with_constants(one("ReduceMean", "axes"), axes=[2, 3]),
        with_constants(one("ReduceMean", "axes", keepdims=0), axes=[-1]),
    ],
    "ReduceMin": [with_constants(one("ReduceMin", "axes"), axes=[2, 3])],
    "ReduceSum": [with_constants(one("ReduceSum", "axes"), axes=[1])],
    "Relu": [one("Relu")],
    "Reshape": [with_constants(one("Reshape", "sizes"), sizes=[0, 2, 2, -1])],
    "Selu": [one("Selu")],
    "Sigmoid": [one("Sigmoid")],
    "Slice": [
        with_constants(one("Slice", "s", "e", "a"), s=[1, -3], e=[3, 100], a=[1, 3]),
        with_constants(one("Slice", "s", "e"), s=[0, 1], e=[2**31, 3]),
    ],
    "Softmax": [one("Softmax", axis=1), one("Softmax")],
    "Softplus": [one("Softplus")],
    "Softsign": [one("Softsign")],
    "SpaceToDepth": [
        Case(
            [
                ("Slice", ["x", "s", "e", "a"], ["c"], {}),
                ("SpaceToDepth", ["c"], ["y"], {"blocksize": 2}),
            ],
            {"s": [0], "e": [4], "a": [2]},
        )
    ],
    "Split": [
        Case(
            [
                ("Split", ["x"], ["a", "b"], {"axis": 1, "num_outputs": 2}),
                ("Tanh", ["b"], ["y"], {}),
            ]
        )
    ],
    "Sqrt": [positive("Sqrt")],
    "Squeeze": [
        Case(
            [("GlobalMaxPool", ["x"], ["m"], {}), ("Squeeze", ["m", "a"], ["y"], {})], {"a": [2, 3]}
        )
    ],
    "Sub": [pair("Sub"), scaled_by_channel("Sub", (1, 4, 1, 1))],
    "Sum": [pair("Sum")],
    "Swish": [Case(one("Swish").nodes, opset=24), Case(one("Swish", alpha=1.7).nodes, opset=24)],
    "Tanh": [one("Tanh")],
    "Transpose": [one("Transpose", perm=[0, 2, 3, 1])],
    "Unsqueeze": [with_constants(one("Unsqueeze", "a"), a=[2])],
    "Where": [
        Case(
            [
                ("Tanh", ["x"], ["t"], {}),
                ("Greater", ["x", "zero"], ["c"], {}),
                ("Where", ["c", "x", "t"], ["y"], {}),
            ],
            {"zero": 0.0},
        )
    ],
}
# The evaluator of the onnx package doesn't compute these; the gate checks them.
UNEVALUATED = ("LRN-0", "Pad-1")
EACH = [
    pytest.param(case, f"{kind}-{number}", id=f"{kind}-{number}")
    for kind, cases in CASES.items()
    for number, case in enumerate(cases)
]


def explained(case: Case) -> tuple[onnx.ModelProto, Explanation, HeatRun]:
    model = classifier(case)
    explanation = attach(model, static_graph(model), 3)
    assert explanation.cut.name == "x"
    run = HeatRunner(model.SerializeToString(), explanation).run(images(), TARGETS)
    check_values(run, explanation.cut)
    return model, explanation, run


@pytest.mark.parametrize(("case", "name"), EACH)
def test_rule_is_the_derivative_and_passes_the_gate(case: Case, name: str) -> None:
    model, explanation, run = explained(case)
    check_differences(model, explanation, images(), run)
    if name not in UNEVALUATED:
        expected = channel_weights(case, run.tensor, run.classes)
        largest = np.abs(expected).max()
        np.testing.assert_allclose(run.weights, expected, rtol=0, atol=1e-3 * largest)


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)
    assert set(LAZY_RULES) <= set(RULES)


def times(context: Context, gradient: str | None) -> str | None:
    return None if gradient is None else context.build.scaled(gradient, 1.1)


@pytest.mark.parametrize("kind", sorted(RULES))
def test_rule_that_is_wrong_by_a_factor_fails_the_gate(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    rule = RULES[kind]

    def wrong(context: Context, node: onnx.NodeProto, given: Sequence[str | None]) -> Gradients:
        return [times(context, one) for one in rule(context, node, given)]

    monkeypatch.setitem(RULES, kind, wrong)
    monkeypatch.delitem(LAZY_RULES, kind, raising=False)
    check_fails(CASES[kind][0])


@pytest.mark.parametrize("kind", ["AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"])
def test_lazy_rule_that_is_wrong_by_a_factor_fails_the_gate(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    rule = LAZY_RULES[kind]

    def wrong(
        context: Context, node: onnx.NodeProto, given: Cotangent
    ) -> dict[int, Cotangent] | None:
        found = rule(context, node, given)
        if found is None:
            return None
        spread = found[0]
        assert isinstance(spread, Spread)
        return {0: Spread(context.build.scaled(spread.tensor, 1.1), spread.dims)}

    monkeypatch.setitem(LAZY_RULES, kind, wrong)
    check_fails(CASES[kind][-1 if kind != "AveragePool" else 3])


def check_fails(case: Case) -> None:
    model, explanation, run = explained(case)
    with pytest.raises(ExplanationError, match="differs from central differences"):
        check_differences(model, explanation, images(), run)
