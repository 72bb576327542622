#!/bin/bash
# The CRI plugin, called as a kubelet calls it.

handler=tested
port=8765

begin_theme() { start_cri; }
end_theme() { stop_cri; }

start_cri() {
    setsid "$engines/cri.py" $port </dev/null >"$work/cri.log" 2>&1 &
    echo $! >"$work/cri.pid"
    eventually cri Version
}
stop_cri() { kill "$(cat "$work/cri.pid")"; }

# cri CALL [REQUEST]
cri() {
    local answer
    answer=$(busybox wget -q -O - --post-data "${2-"{}"}" "http://127.0.0.1:$port/$1") || return
    [[ $answer != cri:* ]] || { echo "$answer" >&2 && return 1; }
    echo "$answer"
}

sandbox_config() { # [JQ]: the configuration of a pod
    jq -nc --arg logs "$work/logs" '{
        metadata: {name: "pod", uid: "uid-1", namespace: "default", attempt: 0},
        hostname: "pod", log_directory: $logs, labels: {app: "it"},
        dns_config: {servers: ["10.0.0.10"], searches: ["cluster.local"]},
        linux: {cgroup_parent: "/kubepods/pod1", security_context: {namespace_options: {pid: "CONTAINER"}}}
    } '"${1:+| $1}"
}
container_config() { # COMMAND [JQ]: of a container in it
    jq -nc --arg command "$1" '{
        metadata: {name: "it", attempt: 0}, image: {image: "docker.io/library/box:latest"},
        command: ["sh", "-c", $command], log_path: "it.log",
        envs: [{key: "FROM", value: ("config" | @base64)}],
        linux: {resources: {cpu_shares: 2, oom_score_adj: 1000}, security_context: {
            namespace_options: {pid: "CONTAINER"}, capabilities: {drop_capabilities: ["NET_RAW"]}, no_new_privs: true,
            masked_paths: ["/proc/keys"], readonly_paths: ["/proc/sys"], seccomp: {profile_type: "RuntimeDefault"}}}
    } '"${2:+| $2}"
}

# pod [JQ]: runs a sandbox. Its id is in $pod.
pod() {
    sandbox=$(sandbox_config "${1-}")
    pod=$(cri RunPodSandbox "$(jq -nc --argjson config "$sandbox" --arg handler "$handler" \
        '{config: $config, runtime_handler: $handler}')" | jq -r .pod_sandbox_id)
}
# container COMMAND [JQ]: creates and starts a container in it. Its id is in $container.
container() {
    create_container "$@"
    cri StartContainer "$(by_id container_id "$container")"
}
create_container() {
    container=$(cri CreateContainer "$(jq -nc --arg pod "$pod" --argjson config "$(container_config "$@")" \
        --argjson sandbox "$sandbox" '{pod_sandbox_id: $pod, config: $config, sandbox_config: $sandbox}')" | jq -r .container_id)
}
by_id() { jq -nc --arg id "$2" "{$1: \$id}"; }
status() { cri ContainerStatus "$(by_id container_id "$container")" | jq -r ".status.$1"; }
inside() { # COMMAND [CONTAINER]: what ExecSync says
    cri ExecSync "$(jq -nc --arg id "${2-$container}" --arg command "$1" \
        '{container_id: $id, cmd: ["sh", "-c", $command], timeout: 10}')"
}
answer() { in_container "$container" "$1"; }
in_container() { inside "$2" "$1" | jq -r '.stdout // "" | @base64d'; }
# stream CALL JQ [SIZE]: exec or attach as `kubectl` does, with standard input; the rest of the request is JQ.
stream() {
    local url
    url=$(cri "$1" "$(jq -nc --arg id "$container" "{container_id: \$id, stdin: true, stdout: true} + $2")" | jq -r .url)
    "$engines/stream.py" "$url" ${3+"$3"}
}
stop() { cri StopContainer "$(jq -nc --arg id "$container" --argjson timeout "${1:-0}" '{container_id: $id, timeout: $timeout}')"; }

tidy() {
    cri ListPodSandbox | jq -r '.items[]?.id' | while read -r id; do
        cri StopPodSandbox "$(by_id pod_sandbox_id "$id")"
        cri RemovePodSandbox "$(by_id pod_sandbox_id "$id")"
    done
}

case_version_and_status() {
    is "$(cri Version | jq -r .runtime_name)" containerd
    is "$(cri Status | jq -r '.status.conditions | map(.status) | all')" true
    has "$(cri Status | jq -r '.runtime_handlers[].name')" tested
}
case_image() {
    has "$(cri ListImages)" docker.io/library/box:latest
    is "$(cri ImageStatus '{"image": {"image": "docker.io/library/box:latest"}}' | jq '.image.id != null')" true
}
case_pod_sandbox() {
    pod
    local status
    status=$(cri PodSandboxStatus "$(by_id pod_sandbox_id "$pod")")
    is "$(jq -r .status.state <<<"$status")" SANDBOX_READY
    has "$(jq -r .status.network.ip <<<"$status")" 10.88.
    cri StopPodSandbox "$(by_id pod_sandbox_id "$pod")"
    is "$(cri PodSandboxStatus "$(by_id pod_sandbox_id "$pod")" | jq -r .status.state)" SANDBOX_NOTREADY
    cri RemovePodSandbox "$(by_id pod_sandbox_id "$pod")"
    is "$(cri ListPodSandbox | jq '.items | length')" 0
}
case_container_and_logs() {
    pod
    container 'echo to stdout; echo to stderr >&2; exit 3'
    eventually says '"CONTAINER_EXITED"' cri ContainerStatus "$(by_id container_id "$container")"
    is "$(status exit_code)" 3
    has "$(cat "$work/logs/it.log")" 'stdout F to stdout'
    has "$(cat "$work/logs/it.log")" 'stderr F to stderr'
    cri RemoveContainer "$(by_id container_id "$container")"
    is "$(cri ListContainers | jq '.containers | length')" 0
}
case_created_then_started() {
    pod
    create_container 'sleep 60'
    is "$(status state)" CONTAINER_CREATED
    cri StartContainer "$(by_id container_id "$container")"
    is "$(status state)" CONTAINER_RUNNING
}
case_exec_sync() {
    pod
    container 'sleep 60'
    is "$(answer 'echo $FROM')" config
    is "$(inside 'echo err >&2; exit 4' | jq -r '(.stderr | @base64d) + (.exit_code | tostring)')" 'err
4'
}
case_exec_sync_that_hangs() {
    pod
    container 'sleep 60'
    has "$(cri ExecSync "$(jq -nc --arg id "$container" '{container_id: $id, cmd: ["sleep", "100"], timeout: 1}')" 2>&1 || true)" \
        DEADLINE_EXCEEDED
    eventually not_running 'sleep 100'
    is "$(status state)" CONTAINER_RUNNING
}
case_exec_streaming() {
    pod
    container 'sleep 60'
    local command='["sh", "-c", "read line; echo got $line; echo err >&2; exit 7"]'
    is "$(echo typed | exits 7 stream Exec "{cmd: $command, stderr: true}" | sort)" 'err
got typed'
    is "$(stream Exec '{cmd: ["seq", "20000"], stderr: true}' </dev/null | md5sum)" "$(seq 20000 | md5sum)"
    fails stream Exec '{cmd: ["/missing"], stderr: true}' </dev/null
}
case_exec_streaming_on_a_terminal() {
    pod
    container 'sleep 60'
    local command='["sh", "-c", "until stty size | grep -q \"33 101\"; do sleep 0.1; done; read line; echo got $line; tty"]'
    has "$(echo typed | stream Exec "{cmd: $command, tty: true}" 101x33)" 'got typed'
    has "$(echo typed | stream Exec "{cmd: $command, tty: true}" 101x33)" /dev/pts/
}
case_attach_streaming() {
    pod
    container 'read line; echo got $line; sleep 0.2; exit 5' '.stdin = true | .stdin_once = true'
    has "$(echo typed | stream Attach '{stderr: true}')" 'got typed'
    eventually says '"CONTAINER_EXITED"' cri ContainerStatus "$(by_id container_id "$container")"
    is "$(status exit_code)" 5
}
not_running() { ! pgrep -fx "$1"; }
case_security_context() {
    pod
    container 'sleep 60'
    is "$(answer "sed -n 's/^NoNewPrivs:\t//p' /proc/self/status")" 1
    is "$(answer "sed -n 's/^Seccomp:\t//p' /proc/self/status")" 2
    is "$(answer "sed -n 's/^CapEff:\t//p' /proc/self/status")" 00000000a80405fb
    is "$(answer 'cat /proc/keys | wc -c')" 0
}
case_user() {
    pod
    container 'sleep 60' '.linux.security_context += {run_as_user: {value: 1000}, run_as_group: {value: 50}, supplemental_groups: [77]}'
    is "$(answer 'echo $(id -u) $(id -g)')" '1000 50'
    has "$(answer 'id -G')" 77
}
case_read_only_root() {
    pod
    container 'sleep 60' '.linux.security_context.readonly_rootfs = true'
    is "$(inside 'touch /new' | jq .exit_code)" 1
}
case_privileged() {
    pod '.linux.security_context.privileged = true'
    container 'sleep 60' '.linux.security_context = {privileged: true}'
    is "$(answer "sed -n 's/^CapEff:\t//p' /proc/self/status")" "$(sed -n 's/^CapEff:\t//p' /proc/self/status)"
}
case_mount() {
    mkdir -p shared && echo outside >shared/file
    pod
    container 'sleep 60' ".mounts = [{container_path: \"/data\", host_path: \"$PWD/shared\", readonly: true}]"
    is "$(answer 'cat /data/file')" outside
    is "$(inside 'touch /data/new' | jq .exit_code)" 1
}
case_containers_share_the_pod() {
    pod
    container 'httpd -f -p 80 -h /etc'
    local first=$container
    container 'sleep 60' '.metadata.name = "other"'
    is "$(answer 'wget -q -O - http://127.0.0.1/hostname')" pod
    local here there kind
    for kind in net ipc uts; do
        here=$(answer "readlink /proc/self/ns/$kind")
        there=$(in_container "$first" "readlink /proc/self/ns/$kind")
        is "$here" "$there"
    done
    here=$(answer 'readlink /proc/self/ns/pid')
    there=$(in_container "$first" 'readlink /proc/self/ns/pid')
    [ "$here" != "$there" ] || fail 'they share a pid namespace'
}
case_shared_pid_namespace() {
    pod '.linux.security_context.namespace_options.pid = "POD"'
    container 'sleep 61' '.linux.security_context.namespace_options = {pid: "POD"}'
    local first=$container
    container 'sleep 62' '.metadata.name = "other" | .linux.security_context.namespace_options = {pid: "POD"}'
    has "$(answer ps)" 'sleep 61'
    stop
    container=$first
    is "$(status state)" CONTAINER_RUNNING
}
case_host_network() {
    pod '.linux.security_context.namespace_options.network = "NODE" | del(.hostname)'
    container 'sleep 60' '.linux.security_context.namespace_options = {network: "NODE"}'
    is "$(answer 'readlink /proc/self/ns/net')" "$(readlink /proc/self/ns/net)"
}
case_user_namespace() {
    local mapping='{mode: "POD", uids: [{host_id: 300000, container_id: 0, length: 65536}], gids: [{host_id: 300000, container_id: 0, length: 65536}]}'
    pod ".linux.security_context.namespace_options.userns_options = $mapping"
    container 'sleep 60' ".linux.security_context.namespace_options.userns_options = $mapping"
    is "$(answer 'echo $(cat /proc/self/uid_map)')" '0 300000 65536'
}
case_sysctl() {
    pod '.linux.sysctls = {"net.ipv4.ip_forward": "0"}'
    container 'sleep 60'
    is "$(answer 'cat /proc/sys/net/ipv4/ip_forward')" 0
}
case_dns() {
    pod
    container 'sleep 60'
    has "$(answer 'cat /etc/resolv.conf')" 'nameserver 10.0.0.10'
}
case_stop_with_grace() {
    pod
    container 'trap "exit 13" TERM; echo ready; while :; do sleep 0.1; done'
    eventually says ready cat "$work/logs/it.log"
    stop 5
    is "$(status exit_code)" 13
}
case_stop_of_the_deaf() {
    pod
    container 'trap "" TERM; while :; do sleep 0.1; done'
    stop 1
    is "$(status exit_code)" 137
}
case_restarted_container() {
    pod
    container 'exit 1'
    eventually says '"CONTAINER_EXITED"' cri ContainerStatus "$(by_id container_id "$container")"
    container 'sleep 60' '.metadata.attempt = 1 | .log_path = "it.1.log"'
    is "$(status state)" CONTAINER_RUNNING
}
case_stats() {
    pod
    container 'sleep 60'
    is "$(cri ContainerStats "$(by_id container_id "$container")" | jq -r .stats.attributes.id)" "$container"
}
case_update_of_limits() {
    needs_controllers cpu memory
    pod
    container 'sleep 60' '.linux.resources.memory_limit_in_bytes = 67108864'
    is "$(answer 'cat /sys/fs/cgroup/memory.max')" 67108864
    cri UpdateContainerResources "$(jq -nc --arg id "$container" '{container_id: $id, linux: {memory_limit_in_bytes: 33554432, cpu_quota: 20000, cpu_period: 100000}}')"
    is "$(answer 'cd /sys/fs/cgroup; echo $(cat memory.max cpu.max)')" '33554432 20000 100000'
}
case_missing_program() {
    pod
    create_container unused '.command = ["/missing"]'
    tells "$(cri StartContainer "$(by_id container_id "$container")" 2>&1 || true)" 'no such file or directory'
}
case_nothing_is_left() {
    is "$(find /run/containerd/runc/k8s.io -mindepth 1 -maxdepth 1 -name "[!.]*" 2>/dev/null)" ''
    is "$(find /sys/fs/cgroup/kubepods -mindepth 2 -type d 2>/dev/null)" ''
}
