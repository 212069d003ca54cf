#!/usr/bin/env bash
# The cache on disk at full size, one run or several by their names: disk.sh kills --times 200; --help tells all.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH=$root/tests:$root
exec "$root/.venv/bin/python" -m soak.disk "$@"
