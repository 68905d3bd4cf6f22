#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs, and only when one is missing.
# Usage: install-packages.sh run|test      (Debian 12 and 13)
set -euo pipefail

run_packages=(
    gcc make cmake ninja-build pkg-config ca-certificates curl git
    libnng-dev libjwt-dev libmicrohttpd-dev libjansson-dev libsodium-dev liblz4-dev libssl-dev
    libprotobuf-c-dev protobuf-c-compiler libsqlite3-dev libmongoc-dev libcmocka-dev
    john-data         # the packaged list of common passwords
    mosquitto-clients # the tour's MQTT client
)
test_packages=(
    clang-19 libclang-rt-19-dev llvm-19 clang-format-19 ccache
    python3 python3-pytest python3-paho-mqtt python3-websocket python3-websockets
    python3-requests python3-yaml python3-jsonschema python3-cryptography python3-jwt
    procps iproute2 openssl strace gdb shellcheck
)

case "${1:-}" in
run) wanted=("${run_packages[@]}") ;;
test) wanted=("${run_packages[@]}" "${test_packages[@]}") ;;
*)
    echo "usage: $0 run|test" >&2
    exit 2
    ;;
esac

missing=()
for package in "${wanted[@]}"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "Packages are missing and neither root nor sudo is available: ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi
echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -q &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "Installing packages failed; the lines above say why." >&2
    exit 1
fi
