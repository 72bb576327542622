#!/bin/bash
# podman pod.

tidy() { podman pod rm --all --force --time 0; }

case_shared_namespaces() {
    podman pod create --name together
    podman run --detach --init --pod together --name first box httpd -f -p 80 -h /etc
    is "$(run --pod together box wget -q -O - http://127.0.0.1/group | head -n 1)" root:x:0:
    local kind
    for kind in net ipc uts; do
        is "$(run --pod together box readlink /proc/self/ns/$kind)" "$(podman exec first readlink /proc/self/ns/$kind)"
    done
}
case_shared_pid_namespace() {
    podman pod create --name together --share pid
    podman run --detach --pod together box sleep 62
    has "$(run --pod together box ps)" 'sleep 62'
}
case_pause() {
    needs_cgroup
    podman pod create --name together
    podman run --detach --init --pod together --name first box sleep 60
    podman pod pause together
    is "$(state Status first)" paused
    podman pod unpause together
    is "$(podman exec first echo again)" again
}
case_stop_and_start() {
    podman pod create --name together
    podman run --detach --init --pod together --name first box sleep 60
    podman pod stop --time 1 together
    is "$(state Status first)" exited
    podman pod start together
    is "$(state Status first)" running
}
case_publish() {
    podman pod create --name together --publish 127.0.0.1:8082:80
    podman run --detach --init --pod together box sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    eventually says served busybox wget -q -O - http://127.0.0.1:8082/
}
