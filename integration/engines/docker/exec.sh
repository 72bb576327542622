#!/bin/bash
# docker exec: another process in a running container.

begin_theme() { docker run --detach --name served --env FROM=config box sleep 3600; }
end_theme() { docker rm --force served; }
# The container stays from case to case.
tidy() { :; }
inside() { docker exec "$@"; }

case_output_and_exit_code() {
    is "$(inside served echo hello)" hello
    exits 8 inside served sh -c 'exit 8'
    is "$(inside served sh -c 'echo err >&2' 2>&1 >/dev/null)" err
    is "$(echo input | inside --interactive served cat)" input
}
case_killed_by_a_signal() { exits 137 inside served sh -c 'kill -9 $$'; }
case_much_output_is_whole() { is "$(inside served seq 100000 | md5sum)" "$(seq 100000 | md5sum)"; }
case_much_input_is_whole() { is "$(seq 100000 | inside --interactive served md5sum)" "$(seq 100000 | md5sum)"; }
case_in_the_same_namespaces() {
    local kind
    for kind in cgroup ipc mnt net pid uts; do
        is "$(inside served readlink /proc/self/ns/$kind)" "$(inside served readlink /proc/1/ns/$kind)"
    done
}
case_in_the_same_cgroup() { is "$(inside served grep 0:: /proc/self/cgroup)" 0::/; }
case_env() { is "$(inside --env MORE=given served sh -c 'echo $FROM $MORE $HOME')" 'config given /root'; }
case_workdir() { is "$(inside --workdir /etc served pwd)" /etc; }
case_user() {
    is "$(inside --user web served sh -c 'echo $(id -u) $(id -g) $HOME')" '1000 1000 /home'
    is "$(inside --user 4000:5000 served sh -c 'echo $(id -u) $(id -g)')" '4000 5000'
    has "$(inside --user web served id -Gn)" staff
}
case_privileges_of_the_container() {
    is "$(inside served sed -n 's/^CapEff:\t//p' /proc/self/status)" 00000000a80425fb
    is "$(inside served sed -n 's/^Seccomp:\t//p' /proc/self/status)" 2
    exits 1 inside served unshare -m true
}
case_privileged() {
    is "$(inside --privileged served sed -n 's/^CapEff:\t//p' /proc/self/status)" "$(every_capability)"
}
case_inherits() {
    docker run --detach --name strict --security-opt no-new-privileges --ulimit nofile=99:99 --cap-drop ALL --init box sleep 60
    is "$(inside strict sh -c 'ulimit -n')" 99
    is "$(inside strict sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)" 1
    is "$(inside strict sed -n 's/^CapEff:\t//p' /proc/self/status)" 0000000000000000
    docker rm --force strict
}
case_detach() {
    inside --detach served sh -c 'echo detached >/tmp/detached'
    eventually says detached docker exec served cat /tmp/detached
}
# 20.10 knows the words for a program that is not in $PATH only.
exits_as_missing() { if is_docker 23; then exits 127 "$@"; else exits 126 "$@"; fi; }
case_missing_program() { tells "$(exits_as_missing inside served /bin/missing)" 'no such file or directory'; }
case_missing_program_in_path() { has "$(exits 127 inside served missing)" 'executable file not found in $PATH'; }
case_not_executable() { has "$(exits 126 inside served /etc/passwd)" 'permission denied'; }
case_a_directory() { exits 126 inside served /etc; }
case_missing_directory() {
    exits_as_missing inside --workdir /missing served /bin/missing >message
    tells "$(cat message)" 'no such file or directory'
}
case_in_a_stopped_container() {
    docker run --name over box true
    has "$(exits 1 docker exec over true)" 'is not running'
    docker rm over
}
case_many_at_once() {
    for i in $(seq 10); do
        docker exec served echo "number $i" >"many.$i" &
    done
    wait
    is "$(cat many.* | sort -u | wc -l)" 10
}
case_no_descriptor_leaks() { is "$(inside served sh -c 'ls /proc/self/fd | wc -l')" 4; }
case_ends_with_the_container() {
    docker run --detach --name short box sleep 60
    docker exec --detach short sleep 4713
    eventually pgrep -f 'sleep 4713'
    docker rm --force short
    is "$(pgrep -f 'sleep 4713' || true)" ''
}
