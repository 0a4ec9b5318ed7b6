"""Look up known vulnerabilities of the pinned packages and of this environment.

python -m deploy.supply_chain.audit

pip-audit also succeeds if the index of advisories has no answer for a package. So it
first looks up a release that is known to be vulnerable. If that isn't reported, the
index can't be used from here: the audit is skipped, with a message and exit code 0.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.supply_chain.environments import ENVIRONMENTS, pin_file

__all__ = ["find_service", "main"]

# A release with several advisories, the first of them from 2019.
KNOWN_VULNERABLE = "jinja2==2.10"
SERVICES = ("pypi", "osv")
_TIMEOUT_SECONDS = 20
_MAX_REASON_CHARACTERS = 200


def main() -> int:
    """Run the command. The exit code is 1 if a package has a known vulnerability."""
    service, reasons = find_service()
    if service is None:
        print("pip-audit: SKIPPED, nothing was checked; no index of advisories is reachable:")
        for name, reason in reasons.items():
            print(f"  {name}: {reason}")
        return 0
    failed = []
    for name, options in _targets().items():
        print(f"pip-audit of {name}, advisories from {service}", flush=True)
        if _audit(service, *options).returncode:
            failed.append(name)
    if failed:
        print(f"pip-audit: FAILED for {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def find_service() -> tuple[str | None, dict[str, str]]:
    """Return an index of advisories that knows a vulnerable release, or why there is none."""
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        listed = Path(scratch, "requirements.txt")
        listed.write_text(f"{KNOWN_VULNERABLE}\n")
        for service in SERVICES:
            options = ("--no-deps", "--disable-pip", "--requirement", str(listed))
            done = _audit(service, *options, "--format", "json", capture=True)
            reason = _why_unusable(done)
            if reason is None:
                return service, reasons
            reasons[service] = reason
    return None, reasons


def _why_unusable(done: "subprocess.CompletedProcess[str]") -> str | None:
    """Return why the vulnerable release wasn't reported; None if it was."""
    try:
        found = json.loads(done.stdout)["dependencies"][0]
    except (ValueError, LookupError):
        lines = done.stderr.strip().splitlines() or ["no output"]
        return lines[-1][:_MAX_REASON_CHARACTERS]
    if found.get("vulns"):
        return None
    return str(found.get("skip_reason", f"it knows no vulnerability of {KNOWN_VULNERABLE}"))


def _targets() -> dict[str, tuple[str, ...]]:
    pinned = {
        f"deploy/requirements/{name}.txt": (
            *("--require-hashes", "--disable-pip", "--strict"),
            *("--requirement", str(pin_file(name))),
        )
        for name in ENVIRONMENTS
    }
    return {**pinned, "this environment": ("--local", "--skip-editable")}


def _audit(
    service: str, *options: str, capture: bool = False
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off"]
    limits = ["--vulnerability-service", service, "--timeout", str(_TIMEOUT_SECONDS)]
    return subprocess.run(
        [*command, *limits, *options], capture_output=capture, text=True, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
