#!/bin/bash
# ctr with the runc shim and BinaryName: what Docker and Kubernetes build upon, without them.

# ctr asks for cpu.shares 1024 always; it is the kernel's default, but the peers want the controller for it.
binary=$runtime
[ "${runtime##*/}" = hako ] || binary=$(limitless)

image=docker.io/library/box:latest
# box [OPTION...] -- COMMAND...: in a container of its own.
box() {
    local options=()
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    local log
    log=$(mktemp -p "$work")
    logged "$log" ctr run --log-uri "file://$log" --rm --runc-binary "$binary" "${options[@]}" $image "one-$BASHPID" "$@"
}
# logged FILE COMMAND...: its output by way of a file: by way of pipes, ctr loses that of a short process when it opens its
# end too late, with every runtime, once in a hundred times on a busy machine.
logged() {
    local log=$1 code=0
    shift
    "$@" || code=$?
    cat "$log"
    rm "$log"
    return $code
}
# keep [OPTION...] -- COMMAND...: a container that stays, by the name of `job`.
keep() {
    local options=()
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    ctr run --detach --runc-binary "$binary" "${options[@]}" $image job "$@"
}
pid() { ctr task list | awk '$1 == "job" { print $2 }'; }
cgroup() { sed -n 's|^0::|/sys/fs/cgroup|p' "/proc/$(pid)/cgroup"; }
status() { ctr task list | awk '$1 == "job" { print $3 }'; }
exec_in() {
    local log
    log=$(mktemp -p "$work")
    logged "$log" ctr task exec --log-uri "file://$log" --exec-id "exec-$RANDOM$RANDOM" "$@"
}

tidy() {
    if ctr task list --quiet | grep -qx job; then
        ctr task kill --signal SIGKILL --all job || true
        eventually ctr task delete --force job
    fi
    ctr container list --quiet | xargs --no-run-if-empty ctr container delete
}

case_output_and_exit_code() {
    is "$(box -- echo hello)" hello
    exits 7 box -- sh -c 'exit 7'
}
# By way of ctr's own pipes: it forgets an end of its input that comes before the task does, and loses output that is
# written just before the end.
case_pipes() {
    local reading='head -n 1; sleep 1'
    is "$( (echo from outside; sleep 2) | ctr run --rm --runc-binary "$binary" $image job sh -c "$reading")" 'from outside'
}
case_much_output_is_whole() { is "$(box -- seq 100000 | md5sum)" "$(seq 100000 | md5sum)"; }
case_env_workdir_user() {
    is "$(box --env A=1 -- sh -c 'echo $A')" 1
    is "$(box --cwd /tmp -- pwd)" /tmp
    is "$(box --user 1000:50 -- sh -c 'echo $(id -u):$(id -g)')" 1000:50
}
case_mount() {
    mkdir -p shared && echo outside >shared/file
    is "$(box --mount "type=bind,src=$PWD/shared,dst=/data,options=rbind:ro" -- cat /data/file)" outside
    exits 1 box --mount "type=bind,src=$PWD/shared,dst=/data,options=rbind:ro" -- touch /data/new
}
case_read_only() { exits 1 box --read-only -- touch /new; }
case_privileged() {
    is "$(box --privileged -- sed -n 's/^CapEff:\t//p' /proc/self/status)" "$(sed -n 's/^CapEff:\t//p' /proc/self/status)"
}
case_capabilities() {
    exits 1 box --cap-drop CAP_CHOWN -- chown 1000 /tmp
    has "$(box --cap-add CAP_NET_ADMIN -- ip link set lo mtu 1400 && echo set)" set
}
case_no_new_privileges() { is "$(box -- sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)" 1; }
case_seccomp() { is "$(box --seccomp -- sed -n 's/^Seccomp:\t//p' /proc/self/status)" 2; }
case_net_host() { is "$(box --net-host -- readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"; }
case_with_ns() { is "$(box --with-ns "ipc:/proc/1/ns/ipc" -- readlink /proc/self/ns/ipc)" "$(readlink /proc/1/ns/ipc)"; }
case_cgroup() { has "$(box --cgroup /mine/box -- cat /proc/self/cgroup)" 0::/; }
case_device() { box --device /dev/kmsg -- test -c /dev/kmsg; }
case_terminal() {
    exits 3 "$engines/terminal.py" "ctr run --rm --tty --runc-binary $binary $image tty sh" \
        'see # ' 'type sleep 2; echo re""ady\r' 'see ready' 'size 33x77' 'type sleep 1; stty size\r' 'see 33 77' 'type exit 3\r'
}
case_tasks() {
    keep -- sleep 60
    is "$(status)" RUNNING
    has "$(ctr task ps job)" "$(pid)"
    ctr task kill --signal SIGKILL job
    eventually says STOPPED ctr task list
    ctr task delete job
}
case_exec() {
    keep -- sleep 60
    is "$(exec_in job echo hello)" hello
    exits 9 exec_in job sh -c 'exit 9'
    is "$(exec_in --user 1000 job id -u)" 1000
    is "$(exec_in --cwd /tmp job pwd)" /tmp
}
case_exec_on_a_terminal() {
    keep -- sleep 60
    exits 4 "$engines/terminal.py" 'ctr task exec --tty --exec-id tty job sh' 'see # ' 'type tty\r' 'see /dev/pts/' 'type exit 4\r'
}
case_pause() {
    keep -- sleep 60
    ctr task pause job
    is "$(status)" PAUSED
    ctr task resume job
    is "$(status)" RUNNING
}
case_kill_with_a_signal() {
    keep -- sh -c 'trap "exit 21" USR1; touch /ready; while :; do sleep 0.1; done'
    eventually exec_in job test -e /ready
    ctr task kill --signal SIGUSR1 job
    eventually says STOPPED ctr task list
}
case_metrics() {
    keep -- sleep 60
    has "$(ctr task metrics job)" job
}
case_no_pivot() { is "$(box --no-pivot -- echo moved 2>&1)" moved; }
case_uidmap() {
    is "$(box --uidmap 0:300000:65536 --gidmap 0:300000:65536 --snapshotter native -- sh -c 'echo $(cat /proc/self/uid_map)')" '0 300000 65536'
}
case_missing_program() { tells "$(exits 1 box -- /missing)" 'no such file or directory'; }
case_memory_limit() {
    needs_controllers memory
    keep --memory-limit 33554432 -- sleep 60
    is "$(cat "$(cgroup)/memory.max")" 33554432
}
case_cpu_limit() {
    needs_controllers cpu
    keep --cpu-quota 50000 --cpu-period 100000 -- sleep 60
    is "$(cat "$(cgroup)/cpu.max")" '50000 100000'
}
case_many_at_once() {
    for i in $(seq 8); do
        box -- echo "number $i" >"many.$i" &
    done
    wait
    is "$(cat many.* | sort -u | wc -l)" 8
}
case_nothing_is_left() {
    is "$(find /run/containerd/runc/default -mindepth 1 -maxdepth 1 -name "[!.]*" 2>/dev/null)" ''
    is "$(find /sys/fs/cgroup/default -mindepth 1 -type d 2>/dev/null)" ''
}
