#!/usr/bin/env bash
# Proves that includes point one way: common <- proto <- services/*, and that no service includes
# another. Every quoted include is written from the root and names a file that exists, or one that is
# generated from proto/*.proto. Tests, fuzz targets and the load generator may include everything.
# Usage: check-includes.sh [--self-test | FOLDER]
#   --self-test  plants each violation in a copy and fails unless it is found
set -euo pipefail

# allowed FILE INCLUDE: may this file include that one?
allowed() {
    local file=$1 include=$2 service
    case $file in
    common/*)
        [[ $include == common/* ]]
        ;;
    proto/*)
        [[ $include == common/* || $include == proto/* ]]
        ;;
    services/*)
        service=${file#services/}
        service=${service%%/*}
        [[ $include == common/* || $include == proto/* || $include == "services/$service/"* ]]
        ;;
    *)
        true
        ;;
    esac
}

# exists ROOT INCLUDE: is there such a file, or will there be one?
exists() {
    [ -e "$1/$2" ] || { [[ $2 == proto/*.pb-c.h ]] && [ -e "$1/${2%.pb-c.h}.proto" ]; }
}

# check FOLDER: prints each violation; status 1 when there is one.
check() {
    local root=$1 file line number include bad=0
    while IFS= read -r file; do
        file=${file#"$root"/}
        while IFS=: read -r number line; do
            include=$(sed -E 's/^[^"<]*["<]([^">]*)[">].*/\1/' <<<"$line")
            if [[ $line == *'"'* ]]; then
                if [[ $include == *..* ]] || ! exists "$root" "$include"; then
                    echo "$file:$number: \"$include\" is not written from the root"
                    bad=1
                    continue
                fi
            elif [[ ! $include =~ ^(common|proto|services)/ ]]; then
                continue # a system header
            fi
            if ! allowed "$file" "$include"; then
                echo "$file:$number: ${file%/*} must not include $include"
                bad=1
            fi
        done < <(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]' "$root/$file" || true)
    done < <(find "$root" \( -name build -o -name 'build-*' -o -name .git \) -prune -o \
        -type f \( -name '*.c' -o -name '*.h' -o -name '*.def' \) -print | sort)
    return $bad
}

# plant ROOT FILE LINE: adds a file with that include; the check must now fail and name it.
plant() {
    local root=$1 file=$2 line=$3 output
    mkdir -p "$root/$(dirname "$file")"
    printf '%s\n' "$line" >"$root/$file"
    if output=$(check "$root"); then
        echo "not found: $file with $line" >&2
        return 1
    fi
    if [[ $output != *"$file:1:"* ]]; then
        echo "found, but not as $file:1: $output" >&2
        return 1
    fi
    rm "$root/$file"
}

self_test() {
    local root
    root=$(mktemp -d)
    planted=$root
    trap 'rm -rf "$planted"' EXIT
    mkdir -p "$root"/{common,proto,services/{auth,routing},tests/unit}
    touch "$root"/{common/a.h,proto/a.h,proto/bus.proto,services/auth/a.h,services/routing/a.h}
    printf '#include "common/a.h"\n#include <stdio.h>\n' >"$root/common/good.c"
    printf '#include "common/a.h"\n#include "proto/a.h"\n#include "proto/bus.pb-c.h"\n' \
        >"$root/proto/good.c"
    printf '#include "services/auth/a.h"\n#include "proto/a.h"\n' >"$root/services/auth/good.c"
    printf '#include "services/auth/a.h"\n#include "services/routing/a.h"\n' \
        >"$root/tests/unit/good.c"
    check "$root" || {
        echo "a clean tree was refused" >&2
        return 1
    }
    plant "$root" common/bad.c '#include "proto/a.h"'
    plant "$root" common/bad.h '#include <proto/bus.pb-c.h>'
    plant "$root" common/bad.def '#include "services/auth/a.h"'
    plant "$root" proto/bad.c '  #  include "services/auth/a.h" /* late */'
    plant "$root" proto/bad.h '#include "proto/none.pb-c.h"'
    plant "$root" services/routing/bad.c '#include "services/auth/a.h"'
    plant "$root" services/routing/deep/bad.h '#include "services/auth/a.h"'
    plant "$root" services/auth/bad.c '#include "a.h"'
    plant "$root" services/auth/bad.h '#include "../routing/a.h"'
    plant "$root" tests/unit/bad.c '#include "good.h"'
    check "$root"
    echo "10 planted violations found"
}

cd "$(dirname "$0")/.."
case ${1:-.} in
--self-test) self_test ;;
*) check "${1:-.}" ;;
esac
