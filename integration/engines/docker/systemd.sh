#!/bin/bash
# native.cgroupdriver=systemd: each container is a scope of systemd's.

begin_theme() { restart_daemon --exec-opt native.cgroupdriver=systemd; }

# An ordinary user's dockerd leaves the name to the runtime where no controllers are delegated.
dockerd_names_it() { ! rootless || needs_controllers memory pids; }
scope() { docker inspect --format 'docker-{{.Id}}.scope' job; }

case_a_scope() {
    dockerd_names_it
    is "$(docker info --format '{{.CgroupDriver}}')" systemd
    keep --init box sleep 60
    systemctl is-active "$(scope)"
    has "$(cat "/proc/$(state Pid)/cgroup")" ".slice/$(scope)"
    local scope
    scope=$(scope)
    docker rm --force job
    eventually gone "$scope"
}
gone() { ! systemctl is-active "$1"; }
case_output_and_exit_code() {
    is "$(run box echo hello)" hello
    exits 7 run box sh -c 'exit 7'
}
case_cgroup_parent() {
    dockerd_names_it
    keep --init --cgroup-parent mine.slice box sleep 60
    has "$(cat "/proc/$(state Pid)/cgroup")" "/mine.slice/$(scope)"
}
case_exec() {
    keep --init box sleep 60
    is "$(docker exec job echo hello)" hello
    is "$(docker exec job grep 0:: /proc/self/cgroup)" 0::/
}
case_terminal() {
    exits 5 "$engines/terminal.py" 'docker run --rm -it box' 'see # ' 'type tty\r' 'see /dev/pts/0' 'type exit 5\r'
}
case_pause_and_stop() {
    keep --init box sleep 60
    docker pause job
    docker unpause job
    docker stop job
    is "$(state ExitCode)" 143
}
case_device_rules() { exits 1 run box sh -c 'mknod /dev/mem c 1 1 && head -c 1 /dev/mem'; }
case_limits() {
    needs_controllers memory cpu pids
    is "$(run --memory 32m --pids-limit 20 --cpus 0.5 box sh -c 'cd /sys/fs/cgroup; echo $(cat memory.max pids.max cpu.max)')" \
        '33554432 20 50000 100000'
    keep --init --memory 64m box sleep 60
    docker update --memory 32m --memory-swap 64m job
    is "$(systemctl show --property MemoryMax "$(scope)")" MemoryMax=33554432
}
case_nothing_is_left() {
    is "$(systemctl list-units --no-legend 'docker-*.scope')" ''
    is "$(systemctl list-units --no-legend --failed)" ''
}
