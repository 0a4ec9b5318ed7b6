import pytest

from convscope.server.inspection import Inspector, inspect_bundle


@pytest.fixture
def quick_inspection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inspect in this process; that another one does it as well has tests of its own."""
    monkeypatch.setattr(Inspector, "inspect", lambda _, directory, __: inspect_bundle(directory))
