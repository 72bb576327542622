#!/bin/bash
# podman: no daemon, but a configuration. For sourcing.

themes='run limits exec terminal lifecycle pod kube build checkpoint'
! rootless || themes+=' rootless'

start_engine() {
    local manager=cgroupfs limits='' name=${runtime##*/}
    [ "$(cat /proc/1/comm)" != systemd ] || manager=systemd
    # A limit that podman gives to every container.
    [ -z "$(controllers_missing pids)" ] || limits='pids_limit = 0'
    local file=/etc/containers/containers.conf
    ! rootless || file=~/.config/containers/containers.conf
    mkdir -p "${file%/*}"
    cat >"$file" <<TOML
[containers]
$limits
[engine]
cgroup_manager = "$manager"
events_logger = "file"
runtime = "$name"
runtime_supports_json = ["$name"]
runtime_supports_nocgroup = ["$name"]
[engine.runtimes]
$name = ["$(podman_runtime)"]
TOML
    "$engines/image" localhost/box:latest "$work/box.tar" && podman load --quiet --input "$work/box.tar" >/dev/null
}

# crun asks for controllers even where no limit needs them.
podman_runtime() {
    if [ "${runtime##*/}" = crun ]; then limitless; else echo "$runtime"; fi
}

stop_engine() { :; }

describe_engine() { podman --version; }

# After each case.
tidy() {
    podman rm --all --force --time 0 --volumes
}

run() { podman run --rm "$@"; }
# A container that stays, by the name of `job`.
keep() { podman run --detach --name job "$@" >/dev/null; }
# podman gives the containers of an ordinary user a cgroup through their systemd, and otherwise none.
needs_cgroup() { ! rootless || systemctl is-system-running >/dev/null || skip 'podman makes no cgroup for a user without systemd'; }
state() { podman inspect --format "{{.State.$1}}" "${2:-job}"; }
