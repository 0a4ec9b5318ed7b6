#!/usr/bin/env bash
# Install h2load, which generates the load, and make OpenVINO's environment, if they are missing.
# With --only-h2load, nothing is done about OpenVINO.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" != --only-h2load ]; then
  scripts/openvino.sh > /dev/null
fi

if command -v h2load > /dev/null; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "The bench needs h2load. Install it with: sudo apt-get install nghttp2-client" >&2
  exit 1
fi
apt-get update --quiet --quiet
apt-get install --yes --quiet --quiet --no-install-recommends nghttp2-client
