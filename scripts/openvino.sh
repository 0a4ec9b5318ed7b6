#!/usr/bin/env bash
# Makes the environment of a server on OpenVINO unless it is there, and prints its Python.
# onnxruntime-openvino takes the place of onnxruntime, so that one environment can't hold both.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/.cache/openvino
if [[ ! $venv/.ready -nt pyproject.toml ]]; then
  rm -rf "$venv"
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --no-compile --editable '.[server-openvino]' >&2
  touch "$venv/.ready"
fi
echo "$venv/bin/python"
