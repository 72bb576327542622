#!/bin/bash
# The life of a container.

case_create_and_start() {
    podman create --name job box echo created
    is "$(podman start --attach job)" created
}
case_init_before_start() {
    podman create --name job box sleep 60
    podman init job
    is "$(state Status)" initialized
    podman start job
    is "$(state Status)" running
}
case_stop_and_restart() {
    keep box sh -c 'trap "exit 9" TERM; echo begun; while :; do sleep 0.1; done'
    eventually says begun podman logs job
    podman stop job
    is "$(state ExitCode)" 9
    podman restart --time 0 job
    is "$(state Status)" running
}
case_kill() {
    keep box sleep 60
    podman kill job
    is "$(podman wait job)" 137
}
case_pause() {
    needs_cgroup
    keep box sleep 60
    podman pause job
    is "$(state Status)" paused
    exits 255 podman exec job true
    podman unpause job
    is "$(podman exec job echo again)" again
}
case_logs() {
    keep box sh -c 'echo out; echo err >&2'
    podman wait job
    is "$(podman logs job 2>/dev/null)" out
    is "$(podman logs job 2>&1 >/dev/null)" err
}
case_cp_diff_commit() {
    keep --init box sleep 60
    echo there >file && podman cp file job:/tmp/file
    is "$(podman exec job cat /tmp/file)" there
    has "$(podman diff job)" 'A /tmp/file'
    podman commit --quiet job committed
    is "$(run committed cat /tmp/file)" there
    podman rmi --force committed
}
case_top_and_stats() {
    keep box sleep 61
    has "$(podman top job args)" 'sleep 61'
}
case_healthcheck() {
    keep --init --health-cmd 'test -e /tmp/well' --health-interval disable --health-retries 1 box sleep 60
    exits 1 podman healthcheck run job
    podman exec job touch /tmp/well
    podman healthcheck run job
    is "$(state Health.Status)" healthy
}
case_restart_policy() {
    keep --restart on-failure:2 box sh -c 'exit 1'
    eventually says 2 podman inspect --format '{{.RestartCount}}' job
}
case_exported_systemd_unit() { has "$(keep box sleep 60 && podman generate systemd job 2>/dev/null)" ExecStart; }
case_mount_of_the_root() {
    podman create --name job box true
    test -e "$(podman mount job)/bin/busybox"
}
case_nothing_is_left() {
    run box true
    is "$(find "${XDG_RUNTIME_DIR:-/run}/${runtime##*/}" -mindepth 1 -maxdepth 1 -name '[!.]*' 2>/dev/null)" ''
    is "$(find /sys/fs/cgroup/libpod_parent -name 'libpod-*' 2>/dev/null)" ''
}
