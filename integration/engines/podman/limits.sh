#!/bin/bash
# Limits, as the kernel of the container and that of the machine see them, and what happens at them.

case_memory() {
    needs_controllers memory
    memory_is_limited
}
case_cpus() {
    needs_controllers cpu
    is_throttled
}
case_pids_limit() {
    needs_controllers pids
    forks_fail_at_the_limit
}
case_blkio() {
    needs_controllers io
    writing_is_limited
}
case_update() {
    needs_controllers memory cpu pids
    limits_are_updated
}
case_stats() {
    needs_controllers memory pids cpu
    keep --memory 64m --pids-limit 20 box sleep 60
    is "$(podman stats --no-stream --format '{{.Name}} {{.PIDs}}')" 'job 1'
    has "$(podman stats --no-stream --format '{{.MemUsage}}')" '/ 67.11MB'
}
case_pause() {
    needs_cgroup
    cgroup_is_frozen
}
case_pod() {
    needs_controllers memory cpu
    podman pod create --name together --memory 64m --memory-swap 64m --cpus 0.5
    # conmon is in the pod, too, and without it nobody knows the exit code: it is not to be the one that is killed.
    exits 137 run --pod together --oom-score-adj 1000 box tail -c 96m /dev/zero
    podman run --detach --name job --pod together --memory 32m box sleep 60
    is "$(limit memory.max)" 33554432
    local above=1
    [ "$(limit memory.max 1)" != max ] || above=2
    is "$(limit memory.max $above) $(limit cpu.max $above)" '67108864 50000 100000'
    podman pod rm --force --time 0 together
}
