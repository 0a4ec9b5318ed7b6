"""The modules of the client import each other in one direction only."""

from pathlib import Path

import pytest
from support.import_cycles import find_cycle

ROOT = Path(__file__).resolve().parents[2]


def test_the_client_has_no_import_cycle() -> None:
    assert find_cycle(ROOT / "client" / "convscope" / "client", "convscope.client") == []


@pytest.mark.parametrize(
    "back",
    [
        "import room.one",
        "from room.one import x",
        "from room import one",
        "from . import one",
        "from .one import x",
        "def later():\n    from room.one import x",
        "if TYPE_CHECKING:\n    from room.one import x",
    ],
)
def test_a_cycle_is_found_in_any_form(tmp_path: Path, back: str) -> None:
    (tmp_path / "__init__.py").write_text("from room.one import x\n")
    (tmp_path / "one.py").write_text("from room.two import y\n")
    (tmp_path / "two.py").write_text("import ast\n")
    assert find_cycle(tmp_path, "room") == []
    (tmp_path / "two.py").write_text(f"{back}\n")
    assert set(find_cycle(tmp_path, "room")) == {"room.one", "room.two"}
