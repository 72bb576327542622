#!/bin/bash
# dockerd: how it starts and ends, and what is in it. For sourcing.

themes='run limits terminal lifecycle exec errors build image network volume compose daemon remap swarm'
if rootless; then
    themes+=' rootless'
    export DOCKER_HOST=unix://$XDG_RUNTIME_DIR/docker.sock
fi

# start_daemon [FLAG...]: with the runtime as the default, and as that of BuildKit, and an image.
start_daemon() {
    local path=$runtime firewall=yes
    # crun asks for controllers even where an engine sends empty limits.
    [ "${runtime##*/}" != crun ] || path=$(limitless)
    local program=(dockerd --exec-opt native.cgroupdriver=cgroupfs)
    if rootless; then
        # It finds the user's systemd itself, or makes no cgroups.
        program=(/usr/share/docker.io/contrib/dockerd-rootless.sh)
        unshare --map-root-user --net iptables --table nat --new-chain probe 2>/dev/null || firewall=no
    elif ! iptables --list >/dev/null 2>&1; then
        firewall=no
    fi
    if [ "$firewall" = no ]; then
        # User Mode Linux has none.
        set -- --iptables=false --ip6tables=false "$@"
    fi
    rm -f "$work/docker.pid"
    DOCKER_BUILDKIT_RUNC_COMMAND=$path setsid "${program[@]}" --pidfile "$work/docker.pid" --add-runtime "tested=$path" \
        --default-runtime tested --storage-driver overlay2 "$@" </dev/null >>"$work/dockerd.log" 2>&1 &
    (eventually docker version) || { tail "$work/dockerd.log" && return 1; }
}

stop_daemon() {
    kill "$(cat "$work/docker.pid")" && daemon_is_gone
}

daemon_is_gone() {
    local pid
    # rootlesskit ends after it.
    for pid in $(cat "$work/docker.pid") $(pgrep --exact --uid "$(id -u)" rootlesskit || true); do
        tail --pid="$pid" --sleep-interval=0.1 --follow=descriptor /dev/null
    done
}

# restart_daemon [FLAG...]
restart_daemon() {
    stop_daemon
    start_daemon "$@"
}

start_engine() {
    "$engines/image" box:latest "$work/box.tar" && start_daemon && docker load --quiet --input "$work/box.tar" >/dev/null
}

stop_engine() { stop_daemon; }

describe_engine() { docker version --format 'dockerd {{.Server.Version}}'; }

# After each case.
tidy() {
    docker container ls --all --quiet | xargs --no-run-if-empty docker container rm --force --volumes
}

# in_box [OPTION...] -- COMMAND...: in a container of its own, which is gone afterwards.
run() { docker run --rm "$@"; }
# A container that stays, by the name of `job`.
keep() { docker run --detach --name job "$@" >/dev/null; }
# docker gives the containers of an ordinary user a cgroup through their systemd, and otherwise none.
needs_cgroup() { [ "$(docker info --format '{{.CgroupDriver}}')" != none ] || skip 'docker makes no cgroup for a user without systemd'; }
# logs_beyond COUNT: more lines of `job` than that have been logged; for `eventually`.
logs_beyond() { [ "$(docker logs job | wc -l)" -gt "$1" ]; }
state() { docker inspect --format "{{.State.$1}}" "${2:-job}"; }

version() { docker version --format '{{.Server.Version}}'; }
is_docker() { [ "$(version | cut -d. -f1)" -ge "$1" ]; } # MAJOR, or newer
needs_docker() { is_docker "$1" || skip "dockerd $(version) has no such option"; } # MAJOR

# What --privileged gives: all that root has here, of those that docker knows; 20.10's list ends with CAP_AUDIT_READ.
every_capability() {
    local all
    all=0x$(all_capabilities)
    is_docker 23 || all=$((all & 0x3fffffffff))
    printf '%016x\n' "$all"
}

# Of the runtime's. containerd 1 tells docker of the end before it has had the runtime delete everything.
nothing_is_left() {
    local left
    left=$(find /run/docker/runtime-runc/moby -mindepth 1 -maxdepth 1 -name '[!.]*' 2>/dev/null
        find /sys/fs/cgroup/docker -mindepth 1 -type d -not -path '*buildkit*' 2>/dev/null) || true
    [ -z "$left" ]
}
