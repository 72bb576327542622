#!/bin/sh
# Shows whether a test run left anything on the host.
#
#   leaks.sh save FILE      remember what is there now
#   leaks.sh compare FILE   print what has appeared since, and fail if anything has
#
# Everything the tests make is named hako-test-PID-…, the conformance suite's oci-conformance-PID; what
# belongs to a test process that is still running is no leak.
set -eu

present() {
    find /sys/fs/cgroup -type d \( -name 'hako-test*' -o -name 'oci-conformance-*' \) 2>/dev/null | sed 's/^/cgroup /'
    find "${TMPDIR:-/tmp}" /dev/shm -maxdepth 1 \( -name 'hako-test*' -o -name 'oci-conformance-*' \) 2>/dev/null | sed 's/^/directory /'
    awk '$5 ~ /hako-test|oci-conformance-/ || $4 ~ /hako-test|oci-conformance-/ { print "mount " $5 }' /proc/self/mountinfo
    find /sys/class/net -maxdepth 1 -name 'hako*' -printf 'interface %f\n'
    for dir in /proc/[0-9]*; do
        words=$({ tr '\0' ' ' <"$dir/cmdline"; } 2>/dev/null) || continue
        root=$(readlink "$dir/root" 2>/dev/null) || root=
        case "$words $root" in
        *hako-test-* | *oci-conformance-[0-9]*) echo "process ${dir#/proc/} $words $root" ;;
        esac
    done
}

# Drops lines whose test process is alive.
ended() {
    while read -r line; do
        pid=$(printf '%s\n' "$line" | sed -n 's/.*\(hako-test\|oci-conformance\)-\([0-9]*\).*/\2/p')
        if [ -z "$pid" ] || [ ! -d "/proc/$pid" ]; then
            printf '%s\n' "$line"
        fi
    done
}

case "${1-} ${2-}" in
"save "?*) present | ended | sort >"$2" ;;
"compare "?*)
    left=$(present | ended | sort | comm -13 "$2" -)
    if [ -n "$left" ]; then
        printf '%s\n' "$left" | sed 's/^/left behind: /' >&2
        exit 1
    fi
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
