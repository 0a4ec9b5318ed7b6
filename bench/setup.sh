#!/usr/bin/env bash
# Make OpenVINO's environment and install h2load, which generates the load, if they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/openvino.sh > /dev/null

if command -v h2load > /dev/null; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "The bench needs h2load. Install it with: sudo apt-get install nghttp2-client" >&2
  exit 1
fi
apt-get update --quiet --quiet
apt-get install --yes --quiet --quiet --no-install-recommends nghttp2-client
