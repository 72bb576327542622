#!/bin/bash
# checkpoint and restore, with criu: in the guest with Debian's kernel.

# A container that counts, because criu under an emulated CPU does not always wake one up that slept.
counting() {
    criu check >/dev/null 2>&1 || skip 'there is no criu that works here'
    keep "$@" box sh -c 'i=0; while :; do i=$((i+1)); [ $((i % 20000)) != 0 ] || echo $i >/tmp/now; done'
    eventually podman exec job test -s /tmp/now
}
now() { podman exec job cat /tmp/now; }
beyond() { [ "$(now)" -gt "$1" ]; }

case_checkpoint_and_restore() {
    local before
    counting --network none
    before=$(now)
    podman container checkpoint job
    is "$(state Checkpointed)" true
    podman container restore job
    is "$(state Running)" true
    eventually beyond "$before"
}
case_leave_running() {
    local before
    counting --network none
    before=$(now)
    podman container checkpoint --leave-running job
    is "$(state Running)" true
    eventually beyond "$before"
}
case_export_and_import() {
    local before
    counting --network none
    before=$(now)
    podman container checkpoint --export "$work/job.tar.gz" job
    podman rm job
    podman container restore --import "$work/job.tar.gz"
    eventually beyond "$before"
}
case_pre_checkpoint() {
    counting --network none
    podman container checkpoint --pre-checkpoint --export "$work/pre.tar.gz" job
    is "$(state Running)" true
    podman container checkpoint --with-previous --export "$work/job.tar.gz" job
    podman rm job
    podman container restore --import-previous "$work/pre.tar.gz" --import "$work/job.tar.gz"
    eventually beyond 0
}
case_network_of_podman() {
    local address
    counting --network bridge
    address=$(podman inspect --format '{{.NetworkSettings.Networks.podman.IPAddress}}' job)
    podman container checkpoint job
    podman container restore job
    eventually beyond 0
    has "$(podman exec job ip address show)" "$address"
}
