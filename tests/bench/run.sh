#!/usr/bin/env bash
# The benchmark by one command: run.sh [ROW...] [--short] [--rounds N] [--peers mount-s3,geesefs,rclone,triton] [--json]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH=$root/tests:$root/packaging/quickstart:$root
exec "$root/.venv/bin/python" -m bench "$@"
