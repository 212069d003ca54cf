#!/usr/bin/env bash
# Writes the locks: every package at one version with the hashes of its files, for Python 3.11 and later on any machine.
#
# Needs uv ("pip install uv"). Arguments go to "uv pip compile", for example --upgrade. Without them a lock changes only
# as far as pyproject.toml asks for it. The smaller locks take their versions from the test lock, so that one virtual
# environment serves them all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() { # NAME ARGUMENT...
    local output="packaging/requirements-$1.lock"
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --custom-compile-command "packaging/lock.sh" --output-file "$output" "$@"
}

compile test pyproject.toml --group test "$@"
compile quickstart pyproject.toml --group quickstart --constraint packaging/requirements-test.lock "$@"
compile image pyproject.toml --constraint packaging/requirements-test.lock "$@"
compile bench pyproject.toml --group bench --constraint packaging/requirements-test.lock "$@"
compile build --group build "$@"
compile triton --group triton --no-deps "$@"
