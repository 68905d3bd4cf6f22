#!/usr/bin/env bash
# Prints the path of FerretDB, the wire-protocol server that tests of the MongoDB back end and
# `make run STORE=mongodb` use; builds it first when it is not there. A build is kept in
# PIPIT_CACHE (default ${XDG_CACHE_HOME:-~/.cache}/pipit), so it happens once a machine. Modules
# come from wherever the machine's own Go settings say; tests/ferretdb/go.sum pins every byte.
# Go >= 1.22 is the machine's or, where it has none, Debian's.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/packages.sh
. scripts/lib/packages.sh
version=v1.24.0
cache=${PIPIT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/pipit}

fail() {
    echo "FerretDB $version cannot be built: $*" >&2
    exit 1
}

works() {
    [[ $("$binary" --version 2>/dev/null) == *"$version"* ]]
}

# find_go: sets go to a Go of at least 1.22 that is on this machine.
find_go() {
    local candidate minor
    for candidate in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go-1.*/bin/go; do
        [ -x "$candidate" ] || continue
        minor=$(GOTOOLCHAIN=local "$candidate" env GOVERSION 2>/dev/null |
            sed -n 's/^go1\.\([0-9]*\).*/\1/p')
        if [ "${minor:-0}" -ge 22 ]; then
            go=$candidate
            return 0
        fi
    done
    return 1
}

install_go() {
    if [ "$(debian_release)" -ge 13 ]; then
        install_packages golang-go
    else
        add_backports && install_packages golang-1.22-go
    fi
}

# build WORK: vendors the module in a folder of its own, because FerretDB reads its version from a
# file that its module lacks and refuses to start without; leaves WORK/ferretdb.
build() {
    local flags
    cp tests/ferretdb/go.mod tests/ferretdb/go.sum tests/ferretdb/tools.go "$1/" || return 1
    # The machine's GOFLAGS hold, except those that choose another module or module mode.
    flags=$(GOTOOLCHAIN=local "$go" env GOFLAGS | tr ' ' '\n' | grep -v '^-mod' | tr '\n' ' ')
    cd "$1" || return 1
    export GOTOOLCHAIN=local GOWORK=off GO111MODULE=on CGO_ENABLED=0
    export GOFLAGS="$flags -buildvcs=false"
    # A module proxy that is away for a moment must not fail a whole run of the tests.
    "$go" mod vendor || { sleep 5 && "$go" mod vendor; } || { sleep 20 && "$go" mod vendor; } ||
        return 1
    echo "$version" >vendor/github.com/FerretDB/FerretDB/build/version/version.txt || return 1
    "$go" build -mod=vendor -trimpath -o ferretdb github.com/FerretDB/FerretDB/cmd/ferretdb
}

mkdir -p "$cache" 2>/dev/null || true
[ -w "$cache" ] || fail "$cache cannot be written; choose another folder with PIPIT_CACHE=..."
cache=$(cd "$cache" && pwd)
home=$cache/ferretdb-$version binary=$home/ferretdb
export HOME=${HOME:-$cache} # Go keeps its own caches below it
exec 9>"$cache/ferretdb-$version.lock"
flock 9 # somebody else may be building it right now
if ! works; then
    find_go || install_go || fail "Go 1.22 or newer is neither installed nor installable"
    [ -n "${go:-}" ] || find_go || fail "no Go of at least 1.22 after installing it"
    echo "Building FerretDB $version, about a minute, once" >&2
    work=$(mktemp -d "$cache/ferretdb-build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/source" "$work/result"
    if ! (build "$work/source") >"$work/log" 2>&1 9>&-; then
        tail -n 20 "$work/log" >&2
        fail "the lines above say why"
    fi
    mv "$work/source/ferretdb" "$work/result/"
    rm -rf "$home"
    mv "$work/result" "$home" # all or nothing
    works || fail "$binary was built and does not run"
fi
echo "$binary"
