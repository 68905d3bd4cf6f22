#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs, and only when one is missing.
# Usage: install-packages.sh run|test|bench      (Debian 12 and 13)
set -euo pipefail
# shellcheck source=scripts/lib/packages.sh
. "$(dirname "$0")/lib/packages.sh"

run_packages=(
    gcc make cmake ninja-build pkg-config ca-certificates curl git
    libnng-dev libjwt-dev libmicrohttpd-dev libjansson-dev libsodium-dev liblz4-dev libssl-dev
    libprotobuf-c-dev protobuf-c-compiler libsqlite3-dev libmongoc-dev libcmocka-dev
    john-data         # the packaged list of common passwords
    mosquitto-clients # the tour's MQTT client
)
test_packages=(
    clang-19 libclang-rt-19-dev llvm-19 clang-format-19 ccache
    python3 python3-pytest python3-pytest-timeout python3-paho-mqtt python3-websocket python3-websockets
    python3-requests python3-yaml python3-jsonschema python3-cryptography python3-jwt
    python3-pymongo python3-hypothesis python3-venv
    procps iproute2 openssl strace gdb shellcheck
    iptables libnetfilter-queue-dev # faults: partitions, lost and late packets
    e2fsprogs xfsprogs              # power cuts: disks in files, copied atomically
)
# The peer.
bench_packages=(mosquitto python3)

case "${1:-}" in
run) wanted=("${run_packages[@]}") ;;
test) wanted=("${run_packages[@]}" "${test_packages[@]}") ;;
bench) wanted=("${run_packages[@]}" "${bench_packages[@]}") ;;
*)
    echo "usage: $0 run|test|bench" >&2
    exit 2
    ;;
esac

# The peer is started by us; as a service it would hold MQTT's port.
fresh=
[ "$1" != bench ] || [ -x /usr/sbin/mosquitto ] || fresh=mosquitto
install_packages "${wanted[@]}"
if [ -n "$fresh" ] && [ -d /run/systemd/system ]; then
    systemctl disable --now "$fresh"
fi
