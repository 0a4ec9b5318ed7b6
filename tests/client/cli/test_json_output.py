"""JSON for other programs."""

import json
import math

import pytest

from convscope.client.cli.json_output import to_json


def test_numbers_that_json_does_not_have_become_null() -> None:
    value = {"metrics": [{"value": math.nan}, {"value": 0.5}], "pair": (math.inf, -math.inf)}
    found = json.loads(to_json(value), parse_constant=pytest.fail)
    assert found == {"metrics": [{"value": None}, {"value": 0.5}], "pair": [None, None]}
