#!/usr/bin/env bash
# What the eight example models cost the store while nothing happens: idle.sh --minutes 60
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH=$root/tests:$root/packaging/quickstart:$root
exec "$root/.venv/bin/python" -m soak.idle "$@"
