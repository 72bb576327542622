#!/bin/bash
# podman exec.

begin_theme() { podman run --detach --init --name served --env FROM=config box sleep 3600; }
end_theme() { podman rm --force --time 0 served; }
tidy() { :; }

case_output_and_exit_code() {
    is "$(podman exec served echo hello)" hello
    exits 8 podman exec served sh -c 'exit 8'
    is "$(echo input | podman exec --interactive served cat)" input
}
case_env_workdir_user() {
    is "$(podman exec --env MORE=given served sh -c 'echo $FROM $MORE')" 'config given'
    is "$(podman exec --workdir /etc served pwd)" /etc
    is "$(podman exec --user web served sh -c 'echo $(id -u) $HOME')" '1000 /home'
}
case_privileges() {
    is "$(podman exec served sed -n 's/^CapEff:\t//p' /proc/self/status)" 00000000800405fb
    is "$(podman exec --privileged served sed -n 's/^CapEff:\t//p' /proc/self/status)" "$(all_capabilities)"
    is "$(podman exec served sed -n 's/^Seccomp:\t//p' /proc/self/status)" 2
}
case_detach() {
    podman exec --detach served sh -c 'echo detached >/tmp/detached'
    eventually says detached podman exec served cat /tmp/detached
}
case_missing_and_not_executable() {
    exits 127 podman exec served /missing
    exits 127 podman exec served missing
    exits 126 podman exec served /etc/passwd
}
case_preserve_fds() {
    echo passed >file
    is "$(podman exec --preserve-fds 1 served sh -c 'cat <&3' 3<file)" passed
}
case_in_a_stopped_one() {
    podman run --name over box true
    has "$(exits 255 podman exec over true)" 'running containers'
    podman rm over
}
