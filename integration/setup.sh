#!/bin/sh
# Installs what is needed and missing.
#
#   setup.sh build|demo|test|guest|engines|bench|fuzz
#
# On Debian and its relatives, as root, with apt-get; elsewhere it says what to install. It changes
# nothing when nothing is missing.
set -eu

rust_minimum=1.91

say() { printf 'setup: %s\n' "$*"; }

# Each need is looked for by what it is used for, not by a package's name, so that it does not matter
# where it came from.
has() {
    case $1 in
    *.a) [ -e "$(cc -print-file-name="$1" 2>/dev/null)" ] ;; # only the name when not found
    busybox) # a static one; Alpine has two
        command -v busybox.static || { command -v busybox && ! ldd "$(command -v busybox)" 2>&1 | grep '=>'; } ;;
    debian-keyring) [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ;;
    *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" ;;
    esac >/dev/null 2>&1
}

# need | Debian | Fedora | Arch | Alpine
packages() {
    cat <<'TABLE'
cc|gcc|gcc|gcc|gcc
c++|g++|gcc-c++|gcc|g++
make|make|make|make|make
libc.a|libc6-dev|glibc-static|glibc|musl-dev
libseccomp.a|libseccomp-dev|libseccomp-static|libseccomp|libseccomp-static
pkg-config|pkg-config|pkgconf|pkgconf|pkgconf
busybox|busybox-static|busybox|busybox|busybox-static
strace|strace|strace|strace|strace
python3|python3|python3|python|python3
shellcheck|shellcheck|ShellCheck|shellcheck|shellcheck
crun|crun|crun|crun|crun
runc|runc|runc|runc|runc
ip|iproute2|iproute|iproute2|iproute2
newuidmap|uidmap|shadow-utils|shadow|shadow-uidmap
unshare|util-linux|util-linux|util-linux|util-linux
mmdebstrap|mmdebstrap|mmdebstrap|mmdebstrap|mmdebstrap
patchelf|patchelf|patchelf|patchelf|patchelf
cpio|cpio|cpio|cpio|cpio
mke2fs|e2fsprogs|e2fsprogs|e2fsprogs|e2fsprogs
xz|xz-utils|xz|xz|xz
taskset|util-linux|util-linux|util-linux|taskset
debian-keyring|debian-archive-keyring|debian-keyring|debian-archive-keyring|debian-archive-keyring
TABLE
}

column() { # the packages in column $1 for the needs that follow
    column=$1
    shift
    for need in "$@"; do
        packages | awk -F'|' -v need="$need" -v column="$column" '$1 == need { print $column }'
    done | sort -u | tr '\n' ' '
}

check_packages() {
    missing=
    for need in "$@"; do
        has "$need" || missing="$missing $need"
    done
    [ -n "$missing" ] || return 0

    # shellcheck disable=SC2086 # a list of words
    set -- $missing
    for need in "$@"; do
        packages | grep -q "^$need|" || { say "nobody has noted which package has $need"; exit 1; }
    done
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        say "missing:$missing"
        say "installing Debian packages: $(column 2 "$@")"
        apt-get -qq update </dev/null || say "apt-get update failed; trying with the lists that are there"
        # shellcheck disable=SC2046 # a list of words
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $(column 2 "$@") \
            </dev/null >/dev/null
        for need in "$@"; do
            has "$need" || { say "$need is still missing after the installation"; exit 1; }
        done
    else
        say "missing:$missing"
        say "  Debian, Ubuntu:  sudo apt-get install $(column 2 "$@")"
        say "  Fedora:          sudo dnf install $(column 3 "$@")"
        say "  Arch:            sudo pacman -S $(column 4 "$@")"
        say "  Alpine:          sudo apk add $(column 5 "$@")"
        exit 1
    fi
}

check_rust() {
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        say "Rust is missing: install version $rust_minimum or newer with rustup or from your distribution"
        [ -z "${SUDO_USER-}" ] || say "(under sudo, ${SUDO_USER}'s own is not seen: sudo env PATH=\"\$PATH\" HOME=\"\$HOME\" make ...)"
        exit 1
    fi
    version=$(rustc --version | awk '{ print $2 }')
    if [ "$(printf '%s\n' "$rust_minimum" "$version" | sort -V | head -n 1)" != "$rust_minimum" ]; then
        say "Rust $version is too old: version $rust_minimum or newer is needed (rustup update, or your distribution)"
        exit 1
    fi
}

build='cc make libc.a libseccomp.a'
guest='mmdebstrap debian-keyring patchelf cpio mke2fs xz taskset unshare' # for integration/vm, and called by it
# shellcheck disable=SC2086 # lists of words
case ${1-} in
build) check_rust && check_packages $build ;;
demo) check_packages busybox ;;
test) check_rust && check_packages $build busybox strace crun runc ip newuidmap unshare shellcheck ;;
guest) check_packages $guest ;;
engines) check_packages mmdebstrap debian-keyring unshare ;;
bench) check_packages $build strace crun runc ;;
peers) check_packages patchelf ;; # called by integration/bench/peers
fuzz) check_rust && check_packages $build c++ python3 ;;
*)
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
