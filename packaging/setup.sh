#!/usr/bin/env bash
# Makes a fresh Debian 12 or Ubuntu 24.04 ready: "setup.sh quickstart" (the default) or "setup.sh test".
#
# Law: it installs what is missing and nothing else, says so, and is done in a moment when nothing is. Every package
# from Python's registry is checked against the hashes in packaging/requirements-*.lock, also those that only build
# others. What it makes lies in .venv and .cache; system packages come from apt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# pyfuse3 compiles against libfuse; python3-dev also brings the libpython that Triton's python backend is linked to
readonly PACKAGES=(ca-certificates fuse3 libfuse3-dev pkg-config gcc libc6-dev python3-dev python3-venv)
# what only tests use: containers without an image registry, and network namespaces
readonly TEST_PACKAGES=(podman runc debootstrap iproute2)
# the first that is 3.11 or 3.12 and can compile is taken; the distribution's own is the one that apt completes
readonly PYTHONS=(/usr/bin/python3 /usr/bin/python3.12 /usr/bin/python3.11 python3.12 python3.11 python3)

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# quietly COMMAND...: run it with its output in a file, which is shown only if it fails
quietly() {
    "$@" >"$scratch/output" 2>&1 </dev/null &
    child=$!
    if ! wait "$child"; then
        cat "$scratch/output" >&2
        fail "failed: $*"
    fi
}

install_system_packages() { # PACKAGE...
    local missing=() package
    command -v dpkg-query >/dev/null || fail "this is no Debian or Ubuntu (no dpkg). Install by hand: $*"
    for package in "$@"; do
        # a line for each architecture that has it
        [[ $'\n'$(dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null)$'\n' == *$'\ninstalled\n'* ]] ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || fail "not root, and these are missing. Run as root: apt-get install ${missing[*]}"
    command -v apt-get >/dev/null || fail "no apt-get here. Install by hand: ${missing[*]}"
    say "installing with apt: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get -o DPkg::Lock::Timeout=300 update
    quietly apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "${missing[@]}"
}

usable() { # PYTHON: has it a fitting version, its headers, and venv?
    "$1" - <<'PYTHON' >/dev/null 2>&1
import ensurepip, pathlib, sys, sysconfig, venv
fits = (3, 11) <= sys.version_info < (3, 13)
headers = pathlib.Path(sysconfig.get_path("include"), "Python.h").is_file()
sys.exit(0 if fits and headers else 1)
PYTHON
}

make_virtual_environment() {
    local python
    if [[ -x .venv/bin/python ]] && usable .venv/bin/python; then
        return
    fi
    for python in "${PYTHONS[@]}"; do
        if usable "$python"; then
            say "making .venv with $("$python" --version)"
            quietly "$python" -m venv --clear .venv
            return
        fi
    done
    fail "no Python 3.11 or 3.12 with venv and headers here: install python3.12, python3.12-dev and python3.12-venv"
}

# the stamp tells what was installed: everything that decides it goes in
stamp() { # KIND
    { cat pyproject.toml packaging/requirements-{build,"$1"}.lock && .venv/bin/python --version; } | sha256sum | cut -c1-64
}

install_python_packages() { # KIND
    local kind=$1 pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input) file=.venv/modelfs-$1.stamp
    [[ -f $file && $(<"$file") == "$(stamp "$kind")" ]] && return
    say "installing Python packages into .venv, checked by hash (pyfuse3 compiles: about a minute)"
    # in isolation pip would fetch the tools that build pyfuse3 and modelfs without checking them
    quietly "${pip[@]}" install --require-hashes --requirement packaging/requirements-build.lock
    quietly "${pip[@]}" install --require-hashes --no-build-isolation --requirement "packaging/requirements-$kind.lock"
    quietly "${pip[@]}" install --no-deps --no-build-isolation --editable .
    stamp "$kind" >"$file"
}

# Azure's emulator, from npm, checked against the hashes in packaging/azurite/package-lock.json; no scripts are run. The
# tests that need it are skipped where it cannot be had.
install_azurite() {
    local folder=.cache/azurite lock=packaging/azurite/package-lock.json
    if cmp --silent "$lock" "$folder/installed.lock"; then
        return
    fi
    { command -v node && command -v npm; } >/dev/null || install_system_packages nodejs npm
    say "installing Azurite into $folder, checked by hash"
    rm -rf "$folder"
    mkdir -p "$folder"
    cp packaging/azurite/package.json "$lock" "$folder"
    npm ci --prefix "$folder" --omit=dev --ignore-scripts --no-audit --no-fund >"$scratch/output" 2>&1 </dev/null &
    child=$!
    if wait "$child"; then
        cp "$lock" "$folder/installed.lock"
    else
        tail -n 5 "$scratch/output" >&2
        say "Azurite cannot be had: the tests of Azure will be skipped"
        rm -rf "$folder"
    fi
}

main() {
    local kind=${1:-quickstart}
    case $kind in
        quickstart) install_system_packages "${PACKAGES[@]}" ;;
        test) install_system_packages "${PACKAGES[@]}" "${TEST_PACKAGES[@]}" ;;
        *) fail "usage: setup.sh [quickstart|test]" ;;
    esac
    make_virtual_environment
    install_python_packages "$kind"
    [[ $kind != test ]] || install_azurite
}

mkdir -p .cache
exec 9>.cache/setup.lock
flock 9 # two set-ups of one clone take turns
scratch=$(mktemp --directory "$PWD/.cache/setup.XXXXXX")
export PIP_CACHE_DIR=$PWD/.cache/pip
export TMPDIR=$scratch # pip and the compiler leave nothing outside
child=
trap 'rm -rf "$scratch"' EXIT
trap '[[ -z $child ]] || kill "$child" 2>/dev/null; exit 143' INT TERM HUP # bash would leave the child running
main "$@"
