#!/usr/bin/env bash
# Every scenario on every store, in poll and explicit mode, compared with a local folder; --help tells the options.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH=$root/tests:$root/packaging/quickstart:$root
exec "$root/.venv/bin/python" -m soak.play_scenarios "$@"
