#!/usr/bin/env bash
# Prints the Python that has Locust, for `"$(loadtest/locust/install.sh)" -m locust ...`; makes its
# virtual environment first when there is none for these requirements. It is kept in PIPIT_CACHE
# (default ${XDG_CACHE_HOME:-~/.cache}/pipit) under a name that says what is in it, so that new
# requirements or another Python get an environment of their own and a repeated run does nothing.
# pip finds packages where the machine's own settings say.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/lib/packages.sh
. scripts/lib/packages.sh
python=/usr/bin/python3
requirements=loadtest/locust/requirements.txt
cache=${PIPIT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/pipit}

fail() {
    echo "Locust cannot be installed: $*" >&2
    exit 1
}

# install HOME: the marker comes last, so that half an environment is never taken for one.
install() {
    rm -rf "$1"
    "$python" -m venv "$1" || return 1
    # A package index that is away for a moment must not fail a whole run of the tests.
    for pause in 0 5 20; do
        sleep "$pause"
        if "$1/bin/python" -m pip install -q --disable-pip-version-check -r "$requirements"; then
            touch "$1/complete"
            return 0
        fi
    done
    return 1
}

mkdir -p "$cache" 2>/dev/null || true
[ -w "$cache" ] || fail "$cache cannot be written; choose another folder with PIPIT_CACHE=..."
cache=$(cd "$cache" && pwd)
if [ ! -x "$python" ] || ! "$python" -c 'import ensurepip' 2>/dev/null; then
    install_packages python3 python3-venv || fail "Debian's python3-venv is missing"
fi
name=locust-$({ "$python" --version && cat "$requirements"; } | sha256sum | cut -c1-12)
home=$cache/$name
if [ ! -e "$home/complete" ]; then
    exec 9>"$cache/$name.lock"
    flock 9 # somebody else may be installing it right now
fi
if [ ! -e "$home/complete" ]; then
    echo "Installing Locust, about half a minute, once" >&2
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! install "$home" >"$log" 2>&1 9>&-; then
        tail -n 20 "$log" >&2
        fail "the lines above say why"
    fi
fi
echo "$home/bin/python"
