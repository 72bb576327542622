#!/bin/sh
# Runs the conformance suite with hako and with those peers whose known deviations are recorded. Fails on news.
#
#   conformance.sh test     the suite itself with runtimes that misbehave, hako, then each peer
#   conformance.sh guest    hako in the guest, where there are all limits
#   conformance.sh table    all of them side by side, into docs/conformance.md
set -eu
cd "$(dirname "$0")/.."

hako=${HAKO:?is the path of the binary}
known=oci-conformance/deviations

cargo build --quiet --release --package oci-conformance
suite=${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/release/oci-conformance

# Prints NAME=PATH and the file of deviations for a peer in exactly a recorded release.
peer() {
    path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$1") || return 0
    version=$("$path" --version | sed -n '1s/.* version \([0-9.]*\).*/\1/p')
    if [ -e "$known/$1-$version.txt" ]; then
        echo "$1=$path $known/$1-$version.txt"
    else
        echo "conformance: nothing is recorded about $1 $version: skipped" >&2
    fi
}

subjects="hako=$hako $known/hako.txt
$(peer runc)
$(peer crun)"

case ${1-} in
test)
    failed=0
    OCI_RUNTIME=$hako cargo test --quiet --release --package oci-conformance --test runtimes -- --ignored || failed=1
    while read -r runtime deviations; do
        [ -z "$runtime" ] || "$suite" --runtime "$runtime" --deviations "$deviations" || failed=1
    done <<LIST
$subjects
LIST
    exit $failed
    ;;
guest)
    share=$(mktemp -d)
    cp "$suite" "$(dirname "$suite")/oci-inspector" "$known/hako.txt" "$share"
    cp "$hako" "$share/hako"
    failed=0
    # shellcheck disable=SC2016 # the guest's directory
    in_guest() {
        run='./oci-conformance --runtime "$PWD/hako" --deviations hako.txt'
        integration/vm/run --kernel "$1" --share "$share" --timeout 900 "$run $2" || failed=1
    }
    in_guest uml ''
    # The slow one has what is left: cpuset, weights of disks, huge pages, NUMA, AppArmor.
    in_guest stock '--filter resources,memory-policy,security-modules'
    rm -rf "$share"
    exit $failed
    ;;
table)
    set --
    while read -r runtime deviations; do
        [ -z "$runtime" ] || set -- "$@" --runtime "$runtime" --deviations "$deviations"
    done <<LIST
$subjects
LIST
    table=$(mktemp)
    # News is no reason not to write it down.
    "$suite" "$@" --format markdown >"$table" || [ $? = 1 ]
    {
        printf '# Conformance\n\nhako beside its peers in the [conformance suite](../oci-conformance/README.md). '
        # shellcheck disable=SC2016 # Markdown
        printf 'Written by `make conformance-table`.\n\n'
        cat "$table"
    } >docs/conformance.md
    rm -f "$table"
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
