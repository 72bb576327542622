#!/bin/bash
# What docs/rootless.md tells to call and to write, word for word.

begin_theme() {
    log_in
    as_user 'mkdir -p bundle/rootfs/bin && cp /bin/busybox bundle/rootfs/bin/sh'
}

# lines HEADING: the first block of lines in that section.
lines() {
    awk -v heading="$1" '/^#/ { inside = $0 == heading } inside && /^    / { sub(/^    /, ""); print; seen = 1; next } seen { exit }' \
        "$(command -v rootless.md)"
}
is_hako() { [ "${runtime##*/}" = hako ]; }
needs_hako() { is_hako || skip 'the document is about hako'; }

# in_box STEP...: what the user does in the shell of a container that the first line of the document makes.
in_box() {
    local line
    line=$(lines '# Without root')
    as_user "cd bundle; rm -f config.json; echo ${line@Q} >line; exec $engines/terminal.py 'sh line' ${*@Q}"
}

# There is no cat in the box.
mapping='while read -r line; do echo $line; done </proc/self/uid_map; exit'

case_own_id_alone() {
    needs_hako
    has "$(in_box 'see # ' "type $mapping\r")" "0 $(id -u "$newcomer") 1"
}
case_a_range() {
    needs_hako
    local command
    command=$(grep -o 'usermod --add-subuids [^`]* NAME' "$(command -v rootless.md)")
    bash -euc "${command/NAME/$newcomer}"
    has "$(in_box 'see # ' "type $mapping\r")" '1 100000 65536'
}
# Of the user's systemd.
controllers_delegated() {
    local id
    id=$(id -u "$newcomer")
    cat "/sys/fs/cgroup/user.slice/user-$id.slice/user@$id.service/cgroup.controllers"
}
limited() {
    as_user "cd bundle; rm -f config.json; hako spec --rootless
        jq --arg limit '$(findmnt -no MAJ:MIN /) wbps=1000000' '.process.terminal = false | .process.args = [\"/bin/sh\", \"-c\", \"echo ran\"]
            | .linux.resources.unified[\"io.max\"] = \$limit' config.json >limited
        mv limited config.json; hako run limited 2>&1"
}
case_delegation() {
    lacks " $(controllers_delegated) " ' io '
    ! is_hako || has "$(limited || true)" 'user@.service.d/delegate.conf'
    bash -euc "$(lines '## Limits')"
    log_out
    log_in
    is "$(controllers_delegated)" "$(grep -oE '\b(cpu|cpuset|io|memory|pids)\b' /sys/fs/cgroup/cgroup.controllers | xargs)"
    ! is_hako || has "$(limited)" ran
}
