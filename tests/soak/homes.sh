#!/usr/bin/env bash
# One tritonserver on the mounts of every kind of store and credential at once, in every mode.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH=$root/tests:$root/packaging/quickstart:$root
exec "$root/.venv/bin/python" -m soak.play_homes "$@"
