#!/bin/bash
# What docs/engines.md tells to write, word for word, for the units of Debian's package.

begin_theme() {
    needs_root 'what is told is told for root'
    about_hako || return 0
    stop_daemon
    systemctl start docker
}
end_theme() {
    about_hako || return 0
    systemctl stop docker docker.socket containerd
    rm -r /etc/docker/daemon.json /etc/systemd/system/docker.service.d
    start_daemon
}
needs_hako() { about_hako || skip 'the documents are about hako'; }

case_daemon_json() {
    needs_hako
    mkdir -p /etc/docker
    documented dockerd json >/etc/docker/daemon.json
    systemctl reload docker
    eventually says hako docker info --format '{{.DefaultRuntime}}'
    is "$(run --runtime hako box echo hello)" hello
    keep --init box sleep 60
    is "$(docker inspect --format '{{.HostConfig.Runtime}}' job)" hako
}
case_buildkit() {
    needs_hako
    mkdir -p /etc/systemd/system/docker.service.d
    local variable
    variable=$(grep -o 'DOCKER_BUILDKIT_RUNC_COMMAND=[^`]*' "$(command -v engines.md)")
    printf '[Service]\nEnvironment=%s\n' "$variable" >/etc/systemd/system/docker.service.d/hako.conf
    systemctl daemon-reload
    systemctl restart docker
    # Whatever else were called would do nothing.
    mount --bind /bin/true "$(command -v runc)"
    docker build --tag built - <<<'FROM box
RUN echo with hako >/by'
    umount "$(command -v runc)"
    is "$(run built cat /by)" 'with hako'
    docker image rm --force built
}
