#!/bin/bash
# The life of a container: every verb of docker container.

case_create_and_start() {
    docker create --name job box echo created >/dev/null
    is "$(state Status)" created
    is "$(docker start --attach job)" created
    is "$(state Status)" exited
}
case_ls() {
    keep box sleep 60
    has "$(docker ps --format '{{.Names}} {{.Status}}')" 'job Up'
    docker kill job
    has "$(docker ps --all --format '{{.Names}} {{.Status}}')" 'job Exited (137)'
}
case_stop_and_start() {
    keep box sh -c 'trap "echo stopped; exit 9" TERM; echo begun; while :; do sleep 0.1; done'
    eventually says begun docker logs job
    docker stop job
    is "$(state ExitCode)" 9
    docker start job
    is "$(state Status)" running
    eventually says 'stopped
begun' docker logs job
}
case_stop_of_the_deaf() {
    keep box sh -c 'trap "" TERM; while :; do sleep 0.1; done'
    docker stop --time 1 job
    is "$(state ExitCode)" 137
}
case_restart() {
    keep box sleep 60
    local before
    before=$(state Pid)
    docker restart --time 0 job
    is "$(state Status)" running
    [ "$before" != "$(state Pid)" ] || fail 'it is the same process'
}
case_kill() {
    keep box sh -c 'trap "exit 10" USR1; echo begun; while :; do sleep 0.1; done'
    eventually says begun docker logs job
    docker kill --signal USR1 job
    is "$(docker wait job)" 10
    exits 1 docker kill job >message
    has "$(cat message)" 'is not running'
}
case_killed_by_a_signal() {
    keep box sleep 60
    docker kill job
    is "$(docker wait job)" 137
}
case_pause() {
    needs_cgroup
    keep box sh -c 'while :; do date +%s%N; sleep 0.05; done'
    docker pause job
    has "$(docker ps)" '(Paused)'
    exits 1 docker exec job true >message
    has "$(cat message)" 'is paused'
    local before
    before=$(docker logs job | wc -l)
    sleep 0.5
    is "$(docker logs job | wc -l)" "$before"
    docker unpause job
    eventually logs_beyond "$before"
}
case_kill_of_a_paused_one() {
    needs_cgroup
    keep box sleep 60
    docker pause job
    docker kill job
    is "$(docker wait job)" 137
}
case_rm_force() {
    keep box sleep 60
    exits 1 docker rm job >/dev/null
    docker rm --force job
    is "$(docker ps --all --quiet)" ''
}
case_prune() {
    docker run --name old box true
    has "$(docker container prune --force)" 'Deleted Containers'
    is "$(docker ps --all --quiet)" ''
}
case_cp() {
    keep box sleep 60
    echo there >file
    docker cp file job:/tmp/file
    is "$(docker exec job cat /tmp/file)" there
    docker exec job sh -c 'echo back >/tmp/file'
    docker cp job:/tmp/file file
    is "$(cat file)" back
}
case_attach() {
    keep --interactive box sh -c 'read line; echo "got $line"; exit 6'
    # Input that ends at once would be detached from before the answer.
    is "$( (echo a line; sleep 1) | docker attach job || echo "$?")" 'got a line
6'
}
case_logs() {
    keep box sh -c 'echo out; echo err >&2; sleep 0.5; echo last'
    docker wait job
    is "$(docker logs job 2>/dev/null)" 'out
last'
    is "$(docker logs job 2>&1 >/dev/null)" err
    is "$(docker logs --tail 1 job 2>/dev/null)" last
}
case_logs_follow() {
    keep box sh -c 'for i in 1 2 3; do echo $i; sleep 0.2; done'
    is "$(docker logs --follow job | tr '\n' ' ')" '1 2 3 '
}
case_stats() {
    keep box sleep 60
    has "$(docker stats --no-stream --format '{{.Name}} {{.PIDs}} {{.CPUPerc}}' job)" job
}
case_stats_counts() {
    needs_controllers memory pids
    keep box sleep 60
    is "$(docker stats --no-stream --format '{{.PIDs}}' job)" 1
    lacks "$(docker stats --no-stream --format '{{.MemUsage}}' job)" '0B / 0B'
}
case_top() {
    keep box sleep 61
    has "$(docker top job)" 'sleep 61'
    docker exec --detach job sleep 62
    eventually says 'sleep 62' docker top job -o pid,cmd
}
case_update_restart_policy() {
    needs_cgroup
    keep box sleep 60
    docker update --restart always job
    is "$(docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' job)" always
}
case_wait() {
    keep box sh -c 'sleep 0.5; exit 11'
    is "$(docker wait job)" 11
}
case_diff() {
    keep box sh -c 'touch /tmp/new; rm /etc/group; sleep 60'
    eventually says 'D /etc/group' docker diff job
    has "$(docker diff job)" 'A /tmp/new'
}
case_commit() {
    docker run --name job box sh -c 'echo kept >/kept'
    docker commit --change 'CMD ["cat", "/kept"]' job committed
    is "$(run committed)" kept
    docker rmi committed
}
case_export() {
    docker create --name job box true
    has "$(docker export job | tar --list)" bin/busybox
}
case_rename_and_inspect() {
    keep box sleep 60
    docker rename job task
    is "$(docker inspect --format '{{.State.Running}} {{.Path}}' task)" 'true sleep'
}
case_events() {
    local begin
    begin=$(date +%s)
    docker run --name job box true
    has "$(docker events --since "$begin" --until "$(($(date +%s) + 1))" --format '{{.Action}}' | tr '\n' ' ')" 'start'
    has "$(docker events --since "$begin" --until "$(($(date +%s) + 1))" --format '{{.Action}}' | tr '\n' ' ')" 'die'
}
case_children_die_with_it() {
    keep box sh -c '(setsid sleep 4712 &); sleep 60'
    eventually pgrep -f 'sleep 4712'
    docker kill job
    is "$(pgrep -f 'sleep 4712' || true)" ''
}
case_many_at_once() { many_at_once 10; }
case_nothing_is_left() {
    run box true
    eventually nothing_is_left
}
