#!/bin/bash
# podman run: what each option makes of the container, as it is seen inside.

case_output_and_exit_code() { output_and_exit_code; }
case_much_output_is_whole() { is "$(run box seq 100000 | md5sum)" "$(seq 100000 | md5sum)"; }
case_exit_125() { exits 125 run --no-such-option box true; }
case_exit_126() { has "$(exits 126 run box /etc/passwd)" 'permission denied'; }
case_exit_127() {
    tells "$(exits 127 run box /missing)" 'no such file or directory'
    exits 127 run box missing
}
case_env_workdir_user() {
    is "$(run --env A=1 box sh -c 'echo $A')" 1
    is "$(run --workdir /tmp box pwd)" /tmp
    is "$(run --user web box id -un)" web
    is "$(run --user 4000:5000 box sh -c 'echo $(id -u):$(id -g)')" 4000:5000
}
case_umask() { is "$(run --umask 0027 box sh -c umask)" 0027; }
case_hostname() { is "$(run --hostname here box hostname)" here; }
case_volume() {
    mkdir -p shared && echo outside >shared/file
    is "$(run --volume "$PWD/shared:/data" box sh -c 'cat /data/file; echo inside >/data/file')" outside
    is "$(cat shared/file)" inside
    exits 1 run --volume "$PWD/shared:/data:ro" box touch /data/new
}
case_volume_overlay() {
    mkdir -p below && echo below >below/file
    run --volume "$PWD/below:/data:O" box sh -c 'echo above >/data/file'
    is "$(cat below/file)" below
}
case_volume_named() {
    run --volume data:/data box sh -c 'echo kept >/data/file'
    is "$(run --volume data:/data box cat /data/file)" kept
    podman volume rm data
}
case_volume_idmapped() {
    needs_root 'the kernel maps ids only of mounts whose file system belongs to the user namespace'
    mkdir -p mapped && touch mapped/file
    is "$(run --uidmap 0:300000:65536 --volume "$PWD/mapped:/data:idmap" box stat -c %u /data/file)" 0
}
case_read_only() {
    exits 1 run --read-only box touch /new
    run --read-only box touch /tmp/new
}
case_tmpfs() { is "$(run --tmpfs /cache:size=64k,mode=0750 box stat -c %a /cache)" 750; }
capabilities() { run "$@" box sed -n 's/^CapEff:\t//p' /proc/self/status; }
case_capabilities() {
    is "$(capabilities)" 00000000800405fb
    is "$(capabilities --cap-drop all)" 0000000000000000
    is "$(capabilities --cap-drop all --cap-add chown)" 0000000000000001
}
case_seccomp_and_no_new_privileges() {
    is "$(run box sed -n 's/^Seccomp:\t//p' /proc/self/status)" 2
    is "$(run --security-opt seccomp=unconfined box sed -n 's/^Seccomp:\t//p' /proc/self/status)" 0
    is "$(run --security-opt no-new-privileges box sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)" 1
}
case_masks() {
    is "$(run box sh -c 'cat /proc/keys | wc -c')" 0
    exits 1 run --security-opt mask=/etc/passwd box grep root /etc/passwd
}
case_privileged() {
    is "$(capabilities --privileged)" "$(all_capabilities)"
    run --privileged box mount -t tmpfs new /tmp
}
case_device() {
    run --device /dev/kmsg:/dev/log:r box test -c /dev/log
    exits 1 run box sh -c 'mknod /dev/mem c 1 1 && head -c 1 /dev/mem'
}
case_init() { has "$(run --init box cat /proc/1/comm)" init; }
case_ulimit_and_sysctl() {
    is "$(run --ulimit nofile=100:200 box sh -c 'echo $(ulimit -Sn) $(ulimit -Hn)')" '100 200'
    is "$(run --sysctl net.ipv4.ip_forward=0 box cat /proc/sys/net/ipv4/ip_forward)" 0
}
case_network() {
    is "$(run --network none box ls /sys/class/net)" lo
    is "$(run --network host box readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"
    is "$(run --network bridge box sh -c 'cd /sys/class/net; echo *')" 'eth0 lo'
}
case_network_names() {
    podman network create ours
    podman run --detach --init --name server --network ours box sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    is "$(run --network ours box wget -q -O - http://server/)" served
    tidy && podman network rm ours
}
case_publish() {
    keep --init --publish 127.0.0.1:8081:80 box sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    eventually says served busybox wget -q -O - http://127.0.0.1:8081/
}
case_namespaces_of_the_host() {
    local kind
    for kind in ipc pid uts; do
        is "$(run --$kind host box readlink /proc/self/ns/$kind)" "$(readlink /proc/self/ns/$kind)"
    done
}
case_cgroupns() {
    needs_cgroup
    is "$(run box grep 0:: /proc/self/cgroup)" 0::/
    has "$(run --cgroupns host box grep 0:: /proc/self/cgroup)" libpod
}
case_cgroups_disabled() { is "$(run --cgroups disabled --cgroupns host box grep 0:: /proc/self/cgroup)" "$(grep 0:: /proc/self/cgroup)"; }
case_user_namespace() {
    # Numbers are those of the namespace in which podman is.
    local first=300000
    ! rootless || first=1
    is "$(run --uidmap "0:$first:65536" box sh -c 'echo $(cat /proc/self/uid_map)')" "0 $first 65536"
}
case_user_namespace_auto() {
    if ! rootless; then
        useradd --system --no-create-home containers
        echo 'containers:400000:200000' | tee /etc/subuid >/etc/subgid
        has "$(run --userns auto box cat /proc/self/uid_map)" 400000
    fi
    keep --init --userns auto:size=1500 box sleep 60
    is "$(podman exec job awk '{ print $1, $3 }' /proc/self/uid_map)" '0 1500'
    [ "$(podman exec job cat /proc/self/uid_map)" != "$(run --userns auto:size=1500 box cat /proc/self/uid_map)" ] ||
        fail 'two of them have the same ids'
}
case_preserve_fds() {
    echo passed >file
    is "$(run --preserve-fds 1 box sh -c 'cat <&3' 3<file)" passed
}
case_sdnotify() {
    is "$(run --sdnotify container box sh -c 'echo ${NOTIFY_SOCKET-none}')" none
}
case_sdnotify_by_the_container() {
    needs_root 'podman mounts no overlay over the root of this machine'
    python3 -c 'import socket
supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
supervisor.bind("supervisor")
while True: print(supervisor.recv(1000).decode(), flush=True)' >heard &
    local listener=$!
    eventually test -S supervisor
    NOTIFY_SOCKET=$PWD/supervisor keep --sdnotify container --rootfs /:O sh -c 'systemd-notify --ready; exec sleep 60'
    eventually has_line READY=1 heard
    has_line "MAINPID=$(state ConmonPid)" heard
    kill $listener
}
has_line() { grep -qx "$1" "$2"; }
case_secret() {
    echo hidden | podman secret create it -
    is "$(run --secret it box cat /run/secrets/it)" hidden
    podman secret rm it
}
case_oom_score_adj() { is "$(run --oom-score-adj 500 box cat /proc/self/oom_score_adj)" 500; }
case_many_at_once() { many_at_once 6; }
