import pytest

from convscope.server.runtime.validation import BundleValidator, validate_bundle


@pytest.fixture
def quick_inspection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inspect in this process; that another one does it as well has tests of its own."""
    monkeypatch.setattr(
        BundleValidator, "inspect", lambda _, directory, __: validate_bundle(directory)
    )
