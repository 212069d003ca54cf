#!/usr/bin/env bash
# Bad days of a store under a tritonserver that polls its mount: availability.sh --minutes 6
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH=$root/tests:$root/packaging/quickstart:$root
exec "$root/.venv/bin/python" -m soak.availability "$@"
