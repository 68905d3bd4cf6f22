#!/usr/bin/env bash
# Configures once and builds incrementally into $BUILD; quiet unless something fails or takes long.
# Environment: BUILD (folder), SANITIZE (address|thread), CC, TARGETS (default: everything).
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)

if [ ! -f "$build/build.ninja" ]; then
    echo "Configuring $build"
    mkdir -p "$build"
    cmake -S . -B "$build" -G Ninja -DCMAKE_C_COMPILER="${CC:-gcc}" "${launcher[@]}" \
        -DPIPIT_SANITIZE="${SANITIZE:-}" -DPIPIT_FUZZ="${FUZZ:-OFF}" -DPIPIT_COMMIT="$commit" \
        >"$build/configure.log" 2>&1 || {
        cat "$build/configure.log" >&2
        exit 1
    }
fi
# shellcheck disable=SC2086  # TARGETS is a list of words
NINJA_STATUS='[%f/%t] ' ninja -C "$build" ${TARGETS:-} >"$build/build.log" 2>&1 &
builder=$!
trap 'kill "$builder" 2>/dev/null || true' INT TERM
while kill -0 "$builder" 2>/dev/null; do
    if [ -t 1 ]; then
        printf '\rBuilding %s ' "$(grep -oE '^\[[0-9]+/[0-9]+\]' "$build/build.log" 2>/dev/null | tail -n 1)"
    fi
    sleep 0.2
done
[ ! -t 1 ] || printf '\r'
wait "$builder" || {
    grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking|Generating)' "$build/build.log" | head -n 60 >&2
    echo "The build failed; $build/build.log has all of it." >&2
    exit 1
}
echo "Built $build"
