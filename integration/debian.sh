#!/bin/bash
# Where the engines come from, which most hosts have too old or not at all: a tree of Debian's packages.
# For sourcing.

# The newest suite that has a name for good.
debian_suite=forky

# debian_cache NAME FILE...: the directory for what is made from these files, outside of the checkout. A
# change of the files is another directory.
debian_cache() {
    local name=$1
    shift
    printf '%s/hako/%s-%s\n' "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}" "$name" "$(cat "$@" | sha256sum | cut -c1-12)"
}

# The mirror that the host's apt uses for Debian; nothing on another distribution, where mmdebstrap
# knows one.
debian_mirror() {
    # shellcheck disable=SC2016 # a variable of apt's
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null |
        sort | uniq -c | sort -rn | awk 'NR == 1 { print $2 }'
}

# debian_tree DIR PACKAGES [OPTION...]: a new tree in DIR, with the host's opinion about expired lists.
debian_tree() {
    local dir=$1 packages=$2 option options=() mirror
    shift 2
    while read -r option; do
        options+=(--aptopt="$option")
    done < <(apt-config dump Acquire::Check-Valid-Until 2>/dev/null)
    for option in doc man info locale; do
        options+=(--dpkgopt="path-exclude=/usr/share/$option/*")
    done
    mirror=$(debian_mirror)
    mmdebstrap --quiet --variant=minbase --include="$packages" --aptopt='APT::Install-Recommends "false"' \
        --aptopt='Acquire::Retries "3"' "${options[@]}" "$@" "$debian_suite" "$dir" ${mirror:+"$mirror"}
}
