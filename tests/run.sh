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
if (($#)); then
    check tests .venv/bin/pytest "$@"
else
    # the tests with the real Triton wait for most of their minutes: beside the others they cost next to nothing
    printf '\n== tests with the real Triton, beside the others; what they say follows below\n'
    triton_log=$(mktemp)
    .venv/bin/pytest -p no:cacheprovider tests/triton </dev/null >"$triton_log" 2>&1 &
    triton=$!
    trap 'kill "$triton" 2>/dev/null; rm -f "$triton_log"' EXIT
    check tests .venv/bin/pytest --ignore=tests/triton
    check "tests with the real Triton" bash -c "tail --pid=$triton -f -n +1 '$triton_log'"
    wait "$triton" || failed+=("tests with the real Triton")
fi

if ((${#failed[@]})); then
    printf '\nFAILED: %s\n' "${failed[*]}"
    exit 1
fi
printf '\nAll checks passed in %d s.\n' "$SECONDS"
