#!/bin/bash
# What docs/engines.md tells to write, word for word: for root with the units of Debian's package, for an ordinary user with
# the one that docker's tool makes.

begin_theme() {
    about_hako || return 0
    stop_daemon
    rootless || systemctl start docker
}
end_theme() {
    about_hako || return 0
    if rootless; then
        PATH=~/bin:$PATH dockerd-rootless-setuptool.sh uninstall --skip-iptables
        rm -r ~/.config/docker ~/.config/systemd/user ~/bin
    else
        systemctl stop docker docker.socket containerd
        rm -r /etc/docker/daemon.json /etc/systemd/system/docker.service.d
    fi
    start_daemon
}
needs_hako() { about_hako || skip 'the documents are about hako'; }
of_a_user() { documented "An ordinary user's podman and dockerd" "$1"; }

# Besides what is told: a machine in a container may not say which modules its kernel has.
install_for_a_user() {
    local lines
    lines=$(of_a_user sh)
    [ -e "/lib/modules/$(uname -r)" ] || lines+=' --skip-iptables'
    bash -euc "$lines"
}
case_daemon_json() {
    needs_hako
    if rootless; then
        mkdir -p ~/.config/docker
        documented dockerd json >~/.config/docker/daemon.json
        install_for_a_user
    else
        mkdir -p /etc/docker
        documented dockerd json >/etc/docker/daemon.json
        systemctl reload docker
    fi
    eventually says hako docker info --format '{{.DefaultRuntime}}'
    is "$(run --runtime hako box echo hello)" hello
    keep --init box sleep 60
    is "$(docker inspect --format '{{.HostConfig.Runtime}}' job)" hako
}
case_buildkit() {
    needs_hako
    local units=/etc/systemd/system
    ! rootless || units=~/.config/systemd/user
    mkdir -p "$units/docker.service.d"
    if rootless; then
        of_a_user ini >"$units/docker.service.d/hako.conf"
    else
        local variable
        variable=$(grep -o -m 1 'DOCKER_BUILDKIT_RUNC_COMMAND=[^`]*' "$(command -v engines.md)")
        printf '[Service]\nEnvironment=%s\n' "$variable" >"$units/docker.service.d/hako.conf"
    fi
    systemctl daemon-reload
    systemctl restart docker
    # Whatever else were called would do nothing: the first in the PATH of the user's dockerd, or that of root's.
    if rootless; then ln -s /bin/true ~/bin/runc; else mount --bind /bin/true "$(command -v runc)"; fi
    docker build --tag built - <<<'FROM box
RUN echo with hako >/by'
    rootless || umount "$(command -v runc)"
    is "$(run built cat /by)" 'with hako'
    docker image rm --force built
}
