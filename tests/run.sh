#!/usr/bin/env bash
# The one check, for people and CI: installs what is missing, then format, lint, types and tests. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
bash packaging/setup.sh test || exit

failed=()
check() { # NAME COMMAND...: under a heading, and with its time
    local name=$1 began=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@" </dev/null || failed+=("$name")
    printf -- '-- %s: %d s\n' "$name" $((SECONDS - began))
}

check format .venv/bin/ruff format --check .
check lint .venv/bin/ruff check .
check types .venv/bin/mypy
check tests .venv/bin/pytest "$@"

if ((${#failed[@]})); then
    printf '\nFAILED: %s\n' "${failed[*]}"
    exit 1
fi
printf '\nAll checks passed in %d s.\n' "$SECONDS"
