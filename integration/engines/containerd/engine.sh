#!/bin/bash
# containerd: how it starts and ends, with a CRI plugin that needs nothing from outside. For sourcing.

themes='ctr cri'

write_config() {
    local wrapped
    wrapped=$(limitless)
    cat >"$work/containerd.toml" <<TOML
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'docker.io/library/pause:latest'
[plugins.'io.containerd.cri.v1.runtime']
  # Without the capability to lower it, asking for less would fail.
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/usr/lib/cni']
  conf_dir = '$work/cni'
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = 'tested'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.tested]
  runtime_type = 'io.containerd.runc.v2'
  options = { BinaryName = '$wrapped', SystemdCgroup = false }
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.tested-systemd]
  runtime_type = 'io.containerd.runc.v2'
  options = { BinaryName = '$wrapped', SystemdCgroup = true }
TOML
    mkdir -p "$work/cni"
    cat >"$work/cni/10-bridge.conflist" <<'JSON'
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
}

start_engine() {
    "$engines/image" docker.io/library/box:latest "$work/box.tar" || return
    "$engines/image" docker.io/library/pause:latest "$work/pause.tar" sleep 2147483647 || return
    write_config || return
    setsid containerd --config "$work/containerd.toml" </dev/null >"$work/containerd.log" 2>&1 &
    echo $! >"$work/containerd.pid"
    eventually ctr version || { tail "$work/containerd.log" && return 1; }
    ctr image import "$work/box.tar" >/dev/null && ctr --namespace k8s.io image import "$work/box.tar" >/dev/null &&
        ctr --namespace k8s.io image import "$work/pause.tar" >/dev/null
}

stop_engine() { kill "$(cat "$work/containerd.pid")"; }

describe_engine() { ctr version | awk '/Server/ { server = 1 } server && /Version/ { print "containerd", $2 }'; }

tidy() { :; }
