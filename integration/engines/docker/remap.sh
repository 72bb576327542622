#!/bin/bash
# dockerd --userns-remap: root in the container is nobody on the host.

begin_theme() {
    needs_root 'dockerd is in a user namespace already'
    echo 'dockremap:300000:65536' | tee /etc/subuid >/etc/subgid
    getent passwd dockremap || useradd --system --no-create-home dockremap
    restart_daemon --userns-remap dockremap
    docker load --quiet --input box.tar
}
end_theme() { restart_daemon; }

case_ids() {
    is "$(run box sh -c 'echo $(cat /proc/self/uid_map)')" '0 300000 65536'
    keep box sleep 60
    is "$(stat -c %u "/proc/$(state Pid)")" 300000
}
case_user() { is "$(run --user web box id -u)" 1000; }
case_exec() {
    keep box sleep 60
    is "$(docker exec job sh -c 'echo $(id -u) $(cat /proc/self/uid_map)')" '0 0 300000 65536'
    is "$(docker exec --user web job id -un)" web
}
case_network() { run box ping -c 1 -W 2 "$(docker network inspect --format '{{(index .IPAM.Config 0).Gateway}}' bridge)"; }
case_volume() {
    docker volume create data
    run --volume data:/data box touch /data/file
    is "$(stat -c %u "$(docker volume inspect --format '{{.Mountpoint}}' data)/file")" 300000
    docker volume rm data
}
case_terminal() {
    exits 2 "$engines/terminal.py" 'docker run --rm -it box sh' 'see # ' 'type tty\r' 'see /dev/pts/0' 'type exit 2\r'
}
case_device() {
    needs_file /dev/net/tun
    run --device /dev/net/tun box test -c /dev/net/tun
}
case_sysctl() {
    is "$(run --sysctl net.ipv4.ip_forward=0 box cat /proc/sys/net/ipv4/ip_forward)" 0
}
case_hostname_and_read_only() {
    is "$(run --hostname here box hostname)" here
    exits 1 run --read-only box touch /new
}
case_userns_host() { is "$(run --userns host --user 0 box sh -c 'echo $(cat /proc/self/uid_map)')" '0 0 4294967295'; }
case_build() {
    docker build --tag built - <<<'FROM box
RUN id -u >/by'
    is "$(run built cat /by)" 0
    docker image rm --force built
}
