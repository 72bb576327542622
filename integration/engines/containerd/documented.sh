#!/bin/bash
# What docs/engines.md tells to write, word for word, and what a kubelet then asks for by the name of the runtime class.

# shellcheck source=/dev/null
. "$engines/containerd/cri.sh"
handler=hako
about_hako || tidy() { :; }

begin_theme() {
    about_hako || return 0
    stop_engine
    # The documented path, without limits where those cannot be had.
    mkdir -p /usr/local/libexec
    cp "$runtime" /usr/local/libexec/hako
    mount --bind "$(runtime=/usr/local/libexec/hako limitless)" "$runtime"
    # Besides: an image and a network that this machine has.
    { documented containerd toml && grep -v -e '^version' -e tested -e runtime_type -e options -e "containerd'*\]" "$work/containerd.toml"; } >documented.toml
    setsid containerd --config "$work/documented.toml" </dev/null >"$work/containerd.log" 2>&1 &
    echo $! >"$work/containerd.pid"
    eventually ctr version
    start_cri
}
end_theme() {
    about_hako || return 0
    stop_cri
    umount "$runtime"
}

case_runtime_class() {
    about_hako || skip 'the documents are about hako'
    pod '.linux.cgroup_parent = "kubepods-pod1.slice"'
    container 'sleep 60'
    is "$(answer 'echo $FROM')" config
    systemctl is-active "cri-containerd-$container.scope"
}
