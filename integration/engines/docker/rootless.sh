#!/bin/bash
# What only an ordinary user's dockerd does: it is in the namespaces of rootlesskit, where root is the user.

case_info() { has "$(docker info --format '{{.SecurityOptions}}')" name=rootless; }
case_ids() {
    keep --init --user web box sleep 60
    is "$(stat -c %u "/proc/$(state Pid)")" $(($(sed -n "s/^$USER:\([0-9]*\):.*/\1/p" /etc/subuid) + 999))
    is "$(docker exec --user 4000 job id -u)" 4000
}
case_files_of_the_user() {
    mkdir -p mine && echo mine >mine/file
    is "$(run --volume "$PWD/mine:/data" box stat -c %u:%g /data/file)" 0:0
    run --volume "$PWD/mine:/data" box touch /data/by-root
    is "$(stat -c %u:%g mine/by-root)" "$(id -u):$(id -g)"
}
case_files_of_others_are_nobodys() {
    is "$(run --volume /etc/passwd:/data:ro box stat -c %u /data)" 65534
    exits 1 run --volume /etc/passwd:/data box sh -c 'echo >>/data'
}
case_device() { run --device /dev/fuse box sh -c 'head -c 0 /dev/fuse'; }
# The other network of rootlesskit. A port is published on all addresses: this rootlesskit does not ask pasta for those of
# the loopback interface, with any runtime.
case_pasta() {
    needs_file /usr/bin/pasta
    trap restart_daemon EXIT
    DOCKERD_ROOTLESS_ROOTLESSKIT_NET=pasta restart_daemon
    pgrep --exact --uid "$(id -u)" 'pasta(\..*)?' || fail 'there is no pasta'
    is "$(run box echo hello)" hello
    keep --init --publish 8084:80 box sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    eventually says served busybox wget -q -O - http://127.0.0.1:8084/
    is "$(docker exec job wget -q -O - http://127.0.0.1/)" served
}
