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
    # what waits most of its minutes (for Triton, for mounts, for containers) runs beside what computes
    printf '\n== tests with the real Triton and on real mounts, beside the others; what they say follows below\n'
    # a shell has what it puts into the background ignore SIGINT, and some tests send one
    logs=$(mktemp -d)
    env --default-signal=INT .venv/bin/pytest -p no:cacheprovider tests/triton </dev/null >"$logs/triton" 2>&1 &
    triton=$!
    env --default-signal=INT .venv/bin/pytest -p no:cacheprovider tests/container tests/mount </dev/null >"$logs/mounts" 2>&1 &
    mounts=$!
    trap 'kill "$triton" "$mounts" 2>/dev/null; rm -rf "$logs"' EXIT
    check tests .venv/bin/pytest --ignore=tests/triton --ignore=tests/container --ignore=tests/mount
    check "tests on real mounts and in containers" bash -c "tail --pid=$mounts -f -n +1 '$logs/mounts'"
    wait "$mounts" || failed+=("tests on real mounts and in containers")
    check "tests with the real Triton" bash -c "tail --pid=$triton -f -n +1 '$logs/triton'"
    wait "$triton" || failed+=("tests with the real Triton")
fi

if ((${#failed[@]})); then
    printf '\nFAILED: %s\n' "${failed[*]}"
    exit 1
fi
printf '\nAll checks passed in %d s.\n' "$SECONDS"
