#!/bin/bash
# The systemd cgroup driver, of ctr and of the CRI plugin.

# shellcheck source=/dev/null
. "$engines/containerd/ctr.sh"
# shellcheck source=/dev/null
. "$engines/containerd/cri.sh"
handler=tested-systemd

in_scope() { box --runc-systemd-cgroup --cgroup mine.slice:box:one -- "$@"; }
in_slice() { pod '.linux.cgroup_parent = "kubepods-pod1.slice"'; }

case_ctr() {
    is "$(in_scope echo hello)" hello
    has "$(in_scope cat /proc/self/cgroup)" 0::/
    exits 7 in_scope sh -c 'exit 7'
}
case_ctr_in_a_scope() {
    in_scope sleep 5 &
    eventually systemctl is-active box-one.scope
    wait
}
case_cri() {
    in_slice
    container 'sleep 60'
    local scope=cri-containerd-$container.scope
    systemctl is-active "$scope"
    has "$(cat "/sys/fs/cgroup$(systemctl show --property ControlGroup --value "$scope")/cgroup.procs")" ''
    has "$(systemctl show --property Slice "$scope")" kubepods-pod1.slice
    is "$(answer 'echo $FROM')" config
    stop
    is "$(status state)" CONTAINER_EXITED
}
case_cri_limits() {
    needs_controllers memory cpu
    in_slice
    container 'sleep 60' '.linux.resources.memory_limit_in_bytes = 67108864'
    is "$(answer 'cat /sys/fs/cgroup/memory.max')" 67108864
}
case_nothing_is_left() {
    is "$(systemctl list-units --no-legend 'cri-containerd-*.scope')" ''
    is "$(systemctl list-units --no-legend --failed)" ''
}
