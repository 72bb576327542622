#!/bin/bash
# The words that cases are written in. For sourcing.

fail() { echo "${*//$'\n'/ }" >&2 && exit 1; }
# The case cannot be judged here, for a reason that was found out, not assumed.
skip() { echo "$*" >&2 && exit 77; }

# is ACTUAL EXPECTED
is() { [ "$1" = "$2" ] || fail "expected '$2', got '$1'"; }
# has TEXT PART, lacks TEXT PART
has() { [[ $1 == *"$2"* ]] || fail "expected '$2' in '$1'"; }
lacks() { [[ $1 != *"$2"* ]] || fail "expected no '$2' in '$1'"; }
# tells TEXT PART: has, but for capital letters; for what no engine compares.
tells() { has "${1,,}" "${2,,}"; }

# exits CODE COMMAND...: its exit code; its output, of both kinds, is the output.
exits() {
    local expected=$1 code=0
    shift
    "$@" 2>&1 || code=$?
    [ "$code" = "$expected" ] || fail "expected exit code $expected, got $code: $*"
}

# fails COMMAND...: with any exit code.
fails() {
    local output
    if output=$("$@" 2>&1); then fail "expected a failure: $*"; fi
    echo "$output"
}

# eventually COMMAND...: within ten seconds it succeeds.
eventually() {
    for _ in $(seq 100); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "not within ten seconds: $*"
}

# says PART COMMAND...: succeeds when the output has it; for `eventually`.
says() {
    local part=$1
    shift
    [[ $("$@" 2>&1) == *"$part"* ]]
}

# Where systemd is pid 1, the one whose units these are: the user's own.
systemctl() { if rootless; then command systemctl --user "$@"; else command systemctl "$@"; fi; }

rootless() { [ "$(id -u)" != 0 ]; }
# needs_root REASON: what an ordinary user cannot have of this case, with any runtime.
needs_root() { ! rootless || skip "not without root: $*"; }

# The controllers that a runtime can use: this machine's, or those of a cgroup that is delegated to this user.
controllers() {
    local cgroup=/sys/fs/cgroup
    ! rootless || cgroup+=$(sed -n 's/^0:://p' /proc/self/cgroup)
    [ ! -w "$cgroup/cgroup.procs" ] || cat "$cgroup/cgroup.controllers"
}

controllers_missing() { # those of $@ that there are not
    local controller missing=() all
    all=$(controllers)
    for controller; do
        [[ " $all " == *" $controller "* ]] || missing+=("$controller")
    done
    echo "${missing[*]}"
}

needs_controllers() {
    local missing
    missing=$(controllers_missing "$@")
    [ -z "$missing" ] || skip "cgroup2 has no controller $missing here"
}

# limit FILE: of the cgroup of `job`, as this machine sees it; of the cgroup N above that with `limit FILE N`.
limit() {
    local cgroup
    cgroup=$(sed -n 's/^0:://p' "/proc/$(state Pid)/cgroup")
    for _ in $(seq "${2:-0}"); do cgroup=${cgroup%/*}; done
    cat "/sys/fs/cgroup$cgroup/$1"
}

needs_capability() { # NAME NUMBER
    local effective
    effective=$(sed -n 's/^CapEff:\t//p' /proc/self/status)
    ((0x$effective >> $2 & 1)) || skip "root has no $1 here"
}

# Those of root where the engine runs.
all_capabilities() {
    local namespace=()
    ! rootless || namespace=(unshare --map-root-user)
    "${namespace[@]}" sed -n 's/^CapEff:\t//p' /proc/self/status
}

needs_file() { [ -e "$1" ] || skip "there is no $1 here"; }

# documented SECTION LANGUAGE: the first block of this language in that section of docs/engines.md.
documented() {
    awk -v heading="## $1" -v fence='```'"$2" '
        /^## / { inside = $0 == heading } inside && $0 == fence { printing = 1; next } printing && /^```/ { exit } printing' \
        "$(command -v engines.md)"
}
about_hako() { [ "$runtime" = /usr/local/bin/hako ] && command -v engines.md >/dev/null; }

# The runtime without the limits that cannot be had here. It keeps its name, which engines look at.
limitless() {
    if [ -z "$(controllers_missing cpu io memory pids)" ]; then
        echo "$runtime"
        return
    fi
    mkdir -p "$work/limitless"
    local wrapper=$work/limitless/${runtime##*/}
    printf '#!/bin/sh\nexec %s/without-limits %s "$@"\n' "$engines" "$runtime" >"$wrapper"
    chmod +x "$wrapper"
    echo "$wrapper"
}

# --- what is judged in the same way with every engine that has a `run`

output_and_exit_code() {
    is "$(run box echo hello)" hello
    exits 7 run box sh -c 'exit 7'
    is "$(echo from outside | run --interactive box cat)" 'from outside'
    is "$(run box sh -c 'echo to stderr >&2' 2>&1 >/dev/null)" 'to stderr'
}

many_at_once() { # COUNT
    for i in $(seq "$1"); do
        run box echo "number $i" >"many.$i" &
    done
    wait
    is "$(cat many.* | sort -u | wc -l)" "$1"
}

in_cgroup() { # FILE OPTION...: a file of the container's cgroup, seen from inside
    local file=$1
    shift
    run "$@" box cat "/sys/fs/cgroup/$file"
}

# The kernel inside and that of the machine say the same, and what takes more is ended.
memory_is_limited() {
    is "$(in_cgroup memory.max --memory 32m)" 33554432
    keep --memory 32m box sleep 60
    is "$(limit memory.max)" 33554432
    exits 137 run --memory 16m box tail -c 64m /dev/zero
}

forks_fail_at_the_limit() {
    local forks='cat /sys/fs/cgroup/pids.max; for i in $(seq 20); do sleep 0.5 & done; wait'
    is "$(run --pids-limit 40 box sh -c "$forks")" 40
    has "$(exits 2 run --pids-limit 10 box sh -c "$forks")" "can't fork"
}

# It has had less than half of the processor, and was stopped at times.
is_throttled() {
    local begin=${EPOCHREALTIME/./}
    keep --cpus 0.3 box sh -c 'while :; do :; done'
    is "$(limit cpu.max)" '30000 100000'
    is "$(run --cpus 0.5 box cat /sys/fs/cgroup/cpu.max)" '50000 100000'
    sleep 1.5
    local statistics used
    statistics=$(limit cpu.stat)
    used=$(awk '$1 == "usage_usec" { print $2 }' <<<"$statistics")
    [ $((used * 2)) -lt $((${EPOCHREALTIME/./} - begin)) ] || fail "it used $used microseconds"
    lacks "$statistics" 'nr_throttled 0'
}

writing_is_limited() { has "$(in_cgroup io.max --device-write-bps "$(findmnt -no SOURCE /):1mb")" wbps=1048576; }

limits_are_updated() {
    keep --memory 64m box sleep 60
    "$engine" update --memory 32m --memory-swap 64m --cpus 0.2 --pids-limit 30 job
    is "$("$engine" exec job sh -c 'cd /sys/fs/cgroup; echo $(cat memory.max cpu.max pids.max)')" '33554432 20000 100000 30'
    is "$(limit memory.max) $(limit cpu.max) $(limit pids.max)" '33554432 20000 100000 30'
    exits 137 "$engine" exec job tail -c 128m /dev/zero
}

cgroup_is_frozen() {
    keep box sleep 60
    "$engine" pause job
    has "$(limit cgroup.events)" 'frozen 1'
    "$engine" unpause job
    has "$(limit cgroup.events)" 'frozen 0'
}
