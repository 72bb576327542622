#!/bin/bash
# podman where systemd is pid 1: its cgroups are scopes.

case_a_scope() {
    is "$(podman info --format '{{.Host.CgroupManager}}')" systemd
    keep --init box sleep 60
    local scope
    scope=libpod-$(podman inspect --format '{{.Id}}' job).scope
    systemctl is-active "$scope"
    has "$(cat "/proc/$(state Pid)/cgroup")" "$scope"
    is "$(podman exec job echo hello)" hello
    podman pause job
    is "$(state Status)" paused
    podman unpause job
    is "$(podman exec job echo again)" again
    podman stop job
}
case_exit_code() { exits 7 run box sh -c 'exit 7'; }
case_annotated_properties() {
    keep --init --stop-timeout 7 box sleep 60
    has "$(systemctl show --property TimeoutStopUSec "libpod-$(podman inspect --format '{{.Id}}' job).scope")" 7s
}
case_limits() {
    needs_controllers memory pids
    is "$(run --memory 32m --pids-limit 20 box sh -c 'cd /sys/fs/cgroup; echo $(cat memory.max pids.max)')" '33554432 20'
}
case_pod() {
    podman pod create --name together
    podman run --detach --init --pod together --name first box sleep 60
    has "$(cat "/proc/$(state Pid first)/cgroup")" -libpod_pod_
    podman pod pause together
    is "$(state Status first)" paused
    podman pod unpause together
    podman pod rm --force --time 0 together
}
case_healthcheck_timer() {
    keep --init --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 1 box sleep 60
    podman exec job touch /tmp/well
    eventually says healthy podman inspect --format '{{.State.Health.Status}}' job
}
case_systemd_in_a_container() {
    mkdir -p rootfs/{dev,proc,run,sys,tmp,usr,var}
    cp -a /bin /lib /lib64 /sbin rootfs/
    cp -r /etc rootfs/ 2>/dev/null || true
    podman run --detach --name job --systemd always --volume /usr:/usr:ro --rootfs "$PWD/rootfs" \
        /lib/systemd/systemd --unit=basic.target
    eventually says 'basic.target' podman exec job systemctl --no-legend list-units basic.target
    is "$(podman exec job cat /proc/1/comm)" systemd
    podman stop --time 10 job
    [ "$(state ExitCode)" != 137 ] || fail 'it had to be killed'
}
case_nothing_is_left() { is "$(systemctl list-units --no-legend 'libpod-*.scope')" ''; }
