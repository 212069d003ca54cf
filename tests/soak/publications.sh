#!/usr/bin/env bash
# Random publications against a tritonserver that polls a mount: publications.sh --publications 500 --seed 1
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH=$root/tests:$root/packaging/quickstart:$root
exec "$root/.venv/bin/python" -m soak.publications "$@"
