#!/usr/bin/env bash
# The benchmark by one command: run.sh [ROW...] [--short] [--rounds N] [--peers mount-s3,geesefs,rclone,triton] [--json]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=$root/.venv/bin/python
[[ -x $python ]] || { echo "bench: there is no $python; run packaging/setup.sh test" >&2; exit 2; }
# the loaders, which no test needs: had once, checked by hash
"$python" -c 'import numpy, onnx, onnxruntime, safetensors' 2>/dev/null ||
    "$python" -m pip install --quiet --no-deps --require-hashes --requirement "$root/packaging/requirements-bench.lock"
export PYTHONPATH=$root/tests:$root/packaging/quickstart:$root
exec "$python" -m bench "$@"
