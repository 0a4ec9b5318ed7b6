"""The pinned requirements of the images, their SBOMs, and the audit."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.dockerfile import Dockerfile
from deploy.supply_chain import audit
from deploy.supply_chain.environments import ENVIRONMENTS, pin_file, requirements
from deploy.supply_chain.pins import render

PIN = re.compile(r"([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")


def pins(environment: str) -> dict[str, str]:
    """The version of each package of an environment."""
    text = pin_file(environment).read_text()
    return {match[1]: match[2] for match in PIN.finditer(text)}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_pins_satisfy_pyproject(environment: str) -> None:
    pinned, wrong = pins(environment), []
    for text in requirements(environment):
        required = Requirement(text)
        if required.marker is None or required.marker.evaluate({"sys_platform": "linux"}):
            version = pinned.get(canonicalize_name(required.name), "none")
            if version == "none" or not required.specifier.contains(version):
                wrong.append(f"{text}, pinned: {version}")
    assert wrong == [], "run: make requirements"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_pin_file_has_versions_and_hashes_and_no_address(environment: str) -> None:
    text = pin_file(environment).read_text()
    rest = [line for line in PIN.sub("", text).splitlines() if not line.startswith("#")]
    assert rest == []
    assert "://" not in text
    assert "index" not in text
    assert pins(environment)


def test_the_images_are_built_from_the_pins(dockerfile: Dockerfile) -> None:
    for image in ("server", "web"):
        steps = [step.text for step in dockerfile.steps(f"{image}-builder")]
        installs = [text for text in steps if " pip install " in text]
        pinned = [text for text in installs if f"deploy/requirements/{image}.txt" in text]
        assert len(pinned) == 1
        for text in installs:
            assert "--require-hashes" in text or "--no-index --no-deps" in text


def test_a_rendered_file_is_read_again_as_it_was() -> None:
    text = render("server", {"b": ("1.0", {"1" * 64, "0" * 64}), "a": ("2", {"f" * 64})})
    assert [match.groups()[:2] for match in PIN.finditer(text)] == [("a", "2"), ("b", "1.0")]


def test_a_changed_archive_is_not_installed(tmp_path: Path) -> None:
    changed = pin_file("build").read_text().replace("sha256:", "sha256:0", 1)
    changed = re.sub(r"sha256:0([0-9a-f]{63})[0-9a-f]", r"sha256:0\1", changed, count=1)
    (tmp_path / "requirements.txt").write_text(changed)
    options = ("--require-hashes", "--no-deps", "--target", str(tmp_path / "target"), "-r")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, tmp_path / "requirements.txt"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr.upper()


# The audit


def reply(**found: object) -> "subprocess.CompletedProcess[str]":
    text = json.dumps({"dependencies": [{"name": "jinja2", **found}], "fixes": []})
    return subprocess.CompletedProcess([], 0, stdout=text, stderr="")


VULNERABLE = reply(version="2.10", vulns=[{"id": "PYSEC-1"}])
UNREACHABLE = subprocess.CompletedProcess([], 1, stdout="", stderr="first\nno route to host\n")


class Audits:
    """Replies as pip-audit does: for the known release from each service, then for the rest."""

    def __init__(self, known: dict[str, "subprocess.CompletedProcess[str]"], code: int = 0) -> None:
        self.known = known
        self.code = code
        self.services: list[str] = []

    def __call__(
        self, service: str, *options: str, capture: bool = False
    ) -> "subprocess.CompletedProcess[str]":
        if capture:
            return self.known[service]
        self.services.append(service)
        return subprocess.CompletedProcess([], self.code)


@pytest.mark.parametrize(
    "silent",
    [
        reply(skip_reason="not found"),
        reply(version="2.10", vulns=[]),
        UNREACHABLE,
    ],
)
def test_an_audit_that_can_find_nothing_is_reported_as_skipped(
    silent: "subprocess.CompletedProcess[str]",
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    audits = Audits({"pypi": silent, "osv": UNREACHABLE})
    monkeypatch.setattr(audit, "_audit", audits)
    assert audit.main() == 0
    assert audits.services == []
    shown = capsys.readouterr().out
    assert "SKIPPED, nothing was checked" in shown
    assert "osv: no route to host" in shown


@pytest.mark.parametrize("code", [0, 1])
def test_the_first_index_that_knows_a_vulnerability_is_used(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    audits = Audits({"pypi": UNREACHABLE, "osv": VULNERABLE}, code)
    monkeypatch.setattr(audit, "_audit", audits)
    assert audit.main() == code
    assert audits.services == ["osv"] * (len(ENVIRONMENTS) + 1)
    assert ("FAILED for deploy/requirements/server.txt" in capsys.readouterr().err) == bool(code)
