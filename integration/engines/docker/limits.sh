#!/bin/bash
# Limits, as the kernel of the container sees them.

case_memory() {
    needs_controllers memory
    memory_is_limited
}
case_memory_reservation() {
    needs_controllers memory
    is "$(in_cgroup memory.low --memory-reservation 8m)" 8388608
}
case_memory_swap() {
    needs_controllers memory
    run box test -e /sys/fs/cgroup/memory.swap.max || skip 'this kernel does not account for swap'
    is "$(in_cgroup memory.swap.max --memory 32m --memory-swap 48m)" 16777216
}
case_out_of_memory_is_told() {
    needs_controllers memory
    # Not at once: containerd begins to watch for it when the program runs already.
    keep --memory 16m box sh -c 'until test -e /go; do sleep 0.1; done; tail -c 64m /dev/zero; sleep 60'
    docker exec job touch /go
    eventually says true docker inspect --format '{{.State.OOMKilled}}' job
}
case_cpus() {
    needs_controllers cpu
    is_throttled
}
case_cpu_shares() {
    needs_controllers cpu
    lacks "$(in_cgroup cpu.weight --cpu-shares 512)" 100
}
case_cpuset() {
    needs_controllers cpuset
    is "$(in_cgroup cpuset.cpus --cpuset-cpus 0)" 0
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
    needs_controllers memory pids
    keep --memory 64m --pids-limit 20 box sleep 60
    is "$(docker stats --no-stream --format '{{.PIDs}}' job)" 1
    has "$(docker stats --no-stream --format '{{.MemUsage}}' job)" '/ 64MiB'
}
case_pause() {
    needs_cgroup
    cgroup_is_frozen
}
case_limits_that_cannot_be_had_are_told() {
    [ -n "$(controllers_missing memory)" ] || skip 'cgroup2 has the memory controller here'
    has "$(run --memory 32m box true 2>&1)" 'does not support memory limit'
}
