#!/usr/bin/env bash
# The one check, for people and CI: installs what is missing, then format, lint, types and tests. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
bash packaging/setup.sh test || exit

readonly AGAIN_MOST=3 # more than that is not the machine's weather

failed=()
check() { # NAME COMMAND...: under a heading, and with its time
    local name=$1 began=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@" </dev/null || failed+=("$name")
    printf -- '-- %s: %d s\n' "$name" $((SECONDS - began))
}

# Tests that wait most of their minutes (for Triton, for mounts, for containers) run beside those that compute.
declare -A lanes=() # the process of each
logs=$(mktemp -d /tmp/t.XXXX) # short, since the path of a socket may have 107 bytes
trap 'kill "${lanes[@]}" 2>/dev/null; rm -rf "$logs"' EXIT

run_lane() { # NAME PYTEST ARGUMENT...: keeps the list of what failed under the name
    # a shell has what it puts into the background ignore SIGINT, and some tests send one
    env --default-signal=INT .venv/bin/pytest --basetemp "$logs/${#lanes[@]}" -o "cache_dir=$logs/$1.failed" "${@:2}"
}

aside() { # NAME PYTEST ARGUMENT...
    printf '\n== %s: begun, what they say follows below\n' "$1"
    run_lane "$@" </dev/null >"$logs/$1" 2>&1 &
    lanes[$1]=$!
}

await() { # NAME PYTEST ARGUMENT...
    check "$1, begun before" bash -c 'tail --pid="$1" --follow --lines=+1 "$2"' - "${lanes[$1]}" "$logs/$1"
    wait "${lanes[$1]}"
    judge $? "$@"
}

# What failed beside all the others has one more try alone, since two cores full of Tritons and mounts are no place to
# be judged on; it is told all the same, and more than a few are a failure at once.
judge() { # STATUS NAME PYTEST ARGUMENT...
    (($1)) || return 0
    local list="$logs/$2.failed/v/cache/lastfailed" count
    count=$(grep --count '"' "$list" 2>/dev/null)
    if (($1 == 1 && ${count:-0} > 0 && count <= AGAIN_MOST)); then
        again+=("$2")
    else
        failed+=("$2")
    fi
}

if (($#)); then
    check format .venv/bin/ruff format --check .
    check lint .venv/bin/ruff check .
    check types .venv/bin/mypy
    check tests .venv/bin/pytest "$@"
else
    again=()
    others=(--ignore=tests/triton --ignore=tests/container --ignore=tests/mount)
    live=(--numprocesses 4 --dist loadfile tests/triton tests/mount)
    aside "tests on real mounts and with the real Triton" "${live[@]}"
    aside "tests in containers" tests/container
    check format .venv/bin/ruff format --check .
    check lint .venv/bin/ruff check .
    check types .venv/bin/mypy
    printf '\n== tests\n'
    run_lane tests "${others[@]}" </dev/null
    judge $? tests "${others[@]}"
    await "tests in containers" tests/container
    await "tests on real mounts and with the real Triton" "${live[@]}"
    for name in "${again[@]}"; do
        printf '\nWARNING: a few of the %s failed beside all the others, and are tried once more alone.\n' "$name"
        check "$name, once more" run_lane "$name" --last-failed --last-failed-no-failures none \
            tests modelfs # wherever they stand: the list tells
    done
fi

if ((${#failed[@]})); then
    printf '\nFAILED: %s\n' "${failed[*]}"
    exit 1
fi
printf '\nAll checks passed in %d s.\n' "$SECONDS"
