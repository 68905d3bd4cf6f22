# packages: installing Debian packages, for the scripts beside this folder. Source it.
# shellcheck shell=bash

# as_root COMMAND...: as it is when we are root, else through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "neither root nor sudo is available to run: $*" >&2
        return 1
    fi
}

# install_packages NAME...: installs those that are missing and says so in one line; on failure
# shows apt's last lines.
install_packages() {
    local missing=() package status log
    for package in "$@"; do
        status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
        [ "$status" = "install ok installed" ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "Installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
    log=$(mktemp)
    if ! { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        echo "Installing packages failed; the lines above say why." >&2
        return 1
    fi
    rm -f "$log"
}

# debian_release: 12, 13, ... of this machine or of the Debian it derives from.
debian_release() {
    # shellcheck source=/dev/null
    (. /etc/os-release && echo "${VERSION_ID%%.*}")
}

# add_backports: makes the backports of this release known, from the mirror that the machine's own
# sources name for the release itself. Backports replace nothing that is not asked for by name.
add_backports() {
    local codename mirror list=/etc/apt/sources.list.d/pipit-backports.list keys
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    if apt-get indextargets --format "\$(RELEASE)" 'Created-By: Packages' |
        grep -qx "$codename-backports"; then
        return 0
    fi
    mirror=$(apt-get indextargets --format "\$(RELEASE) \$(COMPONENT) \$(REPO_URI)" \
        'Created-By: Packages' | awk -v name="$codename" '$1 == name && $2 == "main" { print $3; exit }')
    if [ -z "$mirror" ]; then
        echo "The apt sources name no mirror of Debian $codename, so backports cannot be added." >&2
        return 1
    fi
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$keys" ] && keys="[signed-by=$keys] " || keys=
    echo "Adding $codename-backports from $mirror" >&2
    as_root tee "$list" <<<"deb $keys$mirror $codename-backports main" >/dev/null
}
