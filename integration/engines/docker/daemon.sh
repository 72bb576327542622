#!/bin/bash
# What the daemon makes of the runtime, and what happens to containers when it goes away.

case_info() { has "$(docker info --format '{{.DefaultRuntime}} {{json .Runtimes}}')" tested; }
case_live_restore() {
    needs_root 'containers are in the namespaces of rootlesskit, which ends with dockerd'
    restart_daemon --live-restore
    keep --interactive box sh -c 'while :; do date +%s%N; sleep 0.1; done'
    local pid
    pid=$(state Pid)
    restart_daemon --live-restore
    is "$(state Pid)" "$pid"
    is "$(docker exec job echo again)" again
    local before
    before=$(docker logs job | wc -l)
    eventually logs_beyond "$before"
    docker stop --time 0 job
    is "$(state ExitCode)" 137
    restart_daemon
}
case_live_restore_after_a_kill() {
    needs_root 'containers are in the namespaces of rootlesskit, which ends with dockerd'
    restart_daemon --live-restore
    keep box sh -c 'trap "exit 12" TERM; while :; do sleep 0.1; done'
    local pid
    pid=$(cat "$work/docker.pid")
    kill -9 "$pid" && daemon_is_gone
    start_daemon --live-restore
    is "$(state Status)" running
    docker stop job
    is "$(state ExitCode)" 12
    restart_daemon
}
case_stopped_with_the_daemon() {
    keep --restart always --init box sleep 3600
    restart_daemon
    eventually says running docker inspect --format '{{.State.Status}}' job
}
case_other_runtime_by_name() { is "$(run --runtime tested box echo chosen)" chosen; }
