#!/usr/bin/env bash
# The main job, end to end, on this machine: a stock Triton serves models through a modelfs mount.
#
#   bash packaging/quickstart.sh          Triton's eight example models, in an S3 server of its own
#   bash packaging/quickstart.sh URL      your own repository, with the credentials of your environment
#
# It installs what is missing first (packaging/setup.sh), and at its end leaves nothing but that.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bash "$here/setup.sh" quickstart &
trap 'kill "$!" 2>/dev/null' INT TERM HUP # else a signal in the middle of the set-up would leave it running
wait "$!"
trap - INT TERM HUP
exec "$here/../.venv/bin/python" -B "$here/quickstart/main.py" "$@"
