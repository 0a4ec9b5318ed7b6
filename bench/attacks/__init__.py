"""Attacks on a running server, beside an honest caller. Everything stays on loopback."""

import sys

from bench.context import ROOT

# The attacks of the tests are used here too.
if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))
