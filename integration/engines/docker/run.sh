#!/bin/bash
# docker run: what each option makes of the container, as it is seen inside.

case_output_and_exit_code() { output_and_exit_code; }
case_much_output_is_whole() { is "$(run box seq 200000 | md5sum)" "$(seq 200000 | md5sum)"; }
case_name() {
    keep --name other box sleep 60
    is "$(docker ps --format '{{.Names}}')" other
}
case_rm() {
    run --name gone box true
    is "$(docker ps --all --quiet)" ''
}
case_env() {
    is "$(run --env A=1 --env 'B=two words' box sh -c 'echo $A $B')" '1 two words'
    echo C=3 >variables
    is "$(run --env-file variables box sh -c 'echo $C')" 3
}
case_workdir() {
    is "$(run --workdir /tmp box pwd)" /tmp
    is "$(run --workdir /made/up box pwd)" /made/up
}
case_user() {
    is "$(run --user web box id -un)" web
    is "$(run --user 4000:5000 box sh -c 'echo $(id -u):$(id -g)')" 4000:5000
    has "$(run --user web --group-add 77 box id -G)" 77
    exits 125 run --user nobody-knows box true >message
}
case_entrypoint() { is "$(run --entrypoint echo box a b)" 'a b'; }
case_hostname() {
    is "$(run --hostname here box hostname)" here
    # The kernel shows it to the user namespace of the machine alone.
    rootless || is "$(run --domainname example.org box cat /proc/sys/kernel/domainname)" example.org
    has "$(run --add-host there:10.1.2.3 box cat /etc/hosts)" 10.1.2.3
}
case_volume_bind() {
    mkdir -p shared && echo outside >shared/file
    is "$(run --volume "$PWD/shared:/data" box sh -c 'cat /data/file; echo inside >/data/file')" outside
    is "$(cat shared/file)" inside
    exits 1 run --volume "$PWD/shared:/data:ro" box touch /data/new >message
    has "$(cat message)" 'Read-only file system'
}
case_volume_bind_of_a_file() {
    echo content >file
    is "$(run --mount "type=bind,source=$PWD/file,target=/etc/over,readonly" box cat /etc/over)" content
}
case_volume_propagation() {
    needs_root 'nobody else may mount on the machine'
    mkdir -p up/down
    keep --mount "type=bind,source=$PWD/up,target=/up,bind-propagation=rslave" box sleep 60
    mount -t tmpfs late up/down && touch up/down/late
    is "$(docker exec job ls /up/down)" late
    umount up/down
}
case_volume_recursively_read_only() {
    needs_docker 25
    needs_root 'nobody else may mount on the machine'
    mkdir -p above/below
    mount -t tmpfs below above/below
    exits 1 run --mount "type=bind,source=$PWD/above,target=/m,readonly,bind-propagation=rprivate,bind-recursive=readonly" box touch /m/below/x
    umount above/below
}
case_read_only() {
    exits 1 run --read-only box touch /new
    run --read-only --tmpfs /tmp box touch /tmp/new
}
case_tmpfs() {
    is "$(run --tmpfs /cache:size=64k,mode=0750 box stat -c %a /cache)" 750
    exits 1 run --tmpfs /cache:size=64k box dd if=/dev/zero of=/cache/x bs=1k count=100
    exits 126 run --tmpfs /cache:noexec box sh -c 'cp /bin/busybox /cache/echo; /cache/echo'
}
capabilities() { run "$@" box sed -n 's/^CapEff:\t//p' /proc/self/status; }
case_capabilities_by_default() { is "$(capabilities)" 00000000a80425fb; }
case_cap_drop() {
    is "$(capabilities --cap-drop ALL)" 0000000000000000
    is "$(capabilities --cap-drop ALL --cap-add CHOWN)" 0000000000000001
    exits 1 run --cap-drop CHOWN box chown web /tmp
}
case_cap_add() {
    fails run box ip link set lo mtu 1400
    run --cap-add NET_ADMIN box ip link set lo mtu 1400
}
case_cap_add_of_a_user() {
    is "$(capabilities --user web)" 0000000000000000
    is "$(run --user web box sed -n 's/^CapBnd:\t//p' /proc/self/status)" 00000000a80425fb
}
case_no_new_privileges() {
    is "$(run box sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)" 0
    is "$(run --security-opt no-new-privileges box sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)" 1
}
case_seccomp_by_default() {
    is "$(run box sed -n 's/^Seccomp:\t//p' /proc/self/status)" 2
    exits 1 run box unshare -m true
}
case_seccomp_unconfined() {
    is "$(run --security-opt seccomp=unconfined box sed -n 's/^Seccomp:\t//p' /proc/self/status)" 0
}
case_seccomp_of_ones_own() {
    echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}' >seccomp
    exits 1 run --security-opt "seccomp=$PWD/seccomp" box mkdir /new >message
    has "$(cat message)" 'Operation not permitted'
    run --security-opt "seccomp=$PWD/seccomp" box touch /new
}
case_masked_paths() {
    is "$(run box sh -c 'cat /proc/keys | wc -c')" 0
    exits 1 run box sh -c 'echo 1 >/proc/sys/kernel/panic'
}
case_privileged() {
    is "$(capabilities --privileged)" "$(every_capability)"
    is "$(run --privileged box sed -n 's/^Seccomp:\t//p' /proc/self/status)" 0
    run --privileged box mount -t tmpfs new /tmp
    run --privileged box test -c /dev/full
}
case_device() {
    needs_root 'a device is bound, so it keeps its name'
    exits 1 run box test -e /dev/kmsg
    needs_file /dev/kmsg
    run --device /dev/kmsg:/dev/log:r box test -c /dev/log
    is "$(run --device /dev/zero:/dev/nothing box sh -c 'head -c 3 /dev/nothing | wc -c')" 3
}
case_device_rules() {
    needs_root 'nobody else may load device programs'
    exits 1 run box sh -c 'mknod /dev/mem c 1 1 && head -c 1 /dev/mem' >message
    has "$(cat message)" 'Operation not permitted'
    exits 1 run --device /dev/kmsg:/dev/log:r box sh -c 'echo x >/dev/log'
    run --device-cgroup-rule 'c 1:7 rwm' box sh -c 'mknod /dev/again c 1 7 && head -c 1 /dev/again >/dev/null'
}
case_devices_by_default() {
    # crun adds a link to the kernel's memory.
    is "$(run box sh -c 'cd /dev; echo $(ls | grep -v core)')" \
        'fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero'
}
case_init() {
    has "$(run --init box cat /proc/1/comm)" init
    is "$(run --init box sh -c 'exit 3' || echo $?)" 3
}
case_ulimit() {
    is "$(run --ulimit nofile=100:200 box sh -c 'echo $(ulimit -Sn) $(ulimit -Hn)')" '100 200'
    is "$(run --ulimit core=0 box sh -c 'ulimit -c')" 0
}
case_sysctl() {
    is "$(run --sysctl net.ipv4.ip_forward=0 --sysctl kernel.msgmax=4000 box cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax | tr '\n' ' ')" '0 4000 '
    exits 125 run --sysctl kernel.panic=1 box true >/dev/null
}
case_network_none() { is "$(run --network none box ls /sys/class/net)" lo; }
case_network_host() {
    needs_root 'the network of the host is that of rootlesskit'
    is "$(run --network host box readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"
}
case_network_bridge() {
    is "$(run box sh -c 'cd /sys/class/net; echo *')" 'eth0 lo'
    run box sh -c 'ping -c 1 -W 2 $(ip route | sed -n "s/^default via \([^ ]*\).*/\1/p")'
}
case_network_container() {
    keep box sleep 60
    is "$(run --network container:job box readlink /proc/self/ns/net)" "$(docker exec job readlink /proc/self/ns/net)"
}
case_pid_host() { is "$(run --pid host box readlink /proc/self/ns/pid)" "$(readlink /proc/self/ns/pid)"; }
case_pid_host_is_killed_whole() {
    needs_cgroup
    keep --pid host box sh -c 'sleep 4711 & sleep 4711'
    docker kill job
    eventually says Exited docker ps --all --format '{{.Status}}'
    is "$(pgrep -f 'sleep 4711' || true)" ''
}
case_pid_container() {
    keep box sleep 60
    has "$(run --pid container:job box ps)" 'sleep 60'
}
case_ipc() {
    is "$(run --ipc host box readlink /proc/self/ns/ipc)" "$(readlink /proc/self/ns/ipc)"
    keep --ipc shareable box sleep 60
    is "$(run --ipc container:job box readlink /proc/self/ns/ipc)" "$(docker exec job readlink /proc/self/ns/ipc)"
    exits 1 run --ipc none box grep /dev/shm /proc/self/mounts
}
case_uts_host() { is "$(run --uts host box hostname)" "$(hostname)"; }
case_userns_host() { is "$(run --userns host box cat /proc/self/uid_map)" "$(run box cat /proc/self/uid_map)"; }
case_cgroupns() {
    needs_cgroup
    is "$(run box grep 0:: /proc/self/cgroup)" 0::/
    has "$(run --cgroupns host box cat /proc/self/cgroup)" 0::/docker/
    has "$(run box cat /proc/self/mounts)" '/sys/fs/cgroup cgroup2 ro,'
}
case_cgroup_parent() {
    needs_root 'its parents are slices of systemd, or none'
    has "$(run --cgroup-parent /mine --cgroupns host box cat /proc/self/cgroup)" 0::/mine/
}
case_shm_size() { is "$(run --shm-size 1m box df -k /dev/shm | awk 'END { print $2 }')" 1024; }
case_stop_signal() {
    keep --stop-signal USR1 box sh -c 'trap "exit 42" USR1; while :; do sleep 0.1; done'
    docker stop job
    is "$(state ExitCode)" 42
}
case_health_cmd() {
    keep --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 1 box sleep 60
    eventually says unhealthy docker ps
    docker exec job touch /tmp/well
    eventually says '(healthy)' docker ps
}
case_restart_policy() {
    keep --restart on-failure:2 box sh -c 'exit 1'
    eventually says 2 docker inspect --format '{{.RestartCount}}' job
    eventually says exited docker inspect --format '{{.State.Status}}' job
}
case_oom_score_adj() { is "$(run --oom-score-adj 500 box cat /proc/self/oom_score_adj)" 500; }
case_oom_score_adj_lower() {
    needs_capability CAP_SYS_RESOURCE 24
    is "$(run --oom-score-adj -500 box cat /proc/self/oom_score_adj)" -500
}
case_annotation_label() {
    needs_docker 24
    keep --label a=b --annotation c=d box sleep 60
    is "$(docker inspect --format '{{.Config.Labels.a}} {{.HostConfig.Annotations.c}}' job)" 'b d'
}
case_cidfile() {
    rm -f cid
    run --cidfile cid box true
    is "$(wc -c <cid)" 64
}
case_publish() {
    keep --publish 127.0.0.1:8081:80 box sh -c 'echo served >/tmp/index.html; httpd -f -p 80 -h /tmp'
    eventually says served busybox wget -q -O - http://127.0.0.1:8081/
}
case_no_descriptor_leaks() { is "$(run box sh -c 'ls /proc/self/fd | wc -l')" 4; }
