#!/bin/bash
# What only an ordinary user meets. Root inside is the user outside, and the other ids are of the user's ranges.

# outside FILE: its owner, as the machine sees it.
outside() { stat -c %u:%g "$1"; }
first_of_ranges() { sed -n "s/^$USER:\([0-9]*\):.*/\1/p" /etc/subuid; }

case_ids() {
    is "$(run box awk '{ print $1, $2, $3 }' /proc/self/uid_map | head -n 1)" "0 $(id -u) 1"
    keep --init --user web box sleep 60
    is "$(stat -c %u "/proc/$(state Pid)")" $(($(first_of_ranges) + 999))
}
case_files_of_the_user() {
    mkdir -p mine && echo mine >mine/file
    is "$(run --volume "$PWD/mine:/data" box stat -c %u:%g /data/file)" 0:0
    run --volume "$PWD/mine:/data" box touch /data/by-root
    is "$(outside mine/by-root)" "$(id -u):$(id -g)"
    run --volume "$PWD/mine:/data" box sh -c 'touch /data/by-web && chown web:web /data/by-web'
    is "$(outside mine/by-web)" "$(($(first_of_ranges) + 999)):$(($(first_of_ranges) + 999))"
    podman unshare rm mine/by-web
}
case_files_of_others_are_nobodys() {
    is "$(run --volume /etc/passwd:/data:ro box stat -c %u /data)" 65534
    exits 1 run --volume /etc/passwd:/data box sh -c 'echo >>/data'
}
case_keep_id() {
    mkdir -p kept
    is "$(run --userns keep-id box id -u)" "$(id -u)"
    run --userns keep-id --volume "$PWD/kept:/data" box touch /data/file
    is "$(outside kept/file)" "$(id -u):$(id -g)"
    is "$(run --userns keep-id:uid=1234,gid=4321 box sh -c 'echo $(id -u):$(id -g)')" 1234:4321
    is "$(run --userns keep-id --user root box id -u)" 0
}
case_keep_id_exec() {
    keep --init --userns keep-id box sleep 60
    is "$(podman exec job id -u)" "$(id -u)"
    is "$(podman exec --user root job id -u)" 0
    is "$(podman exec --user 4000:5000 job sh -c 'echo $(id -u):$(id -g)')" 4000:5000
    exits 4 "$engines/terminal.py" 'podman exec -it job sh' 'see $ ' 'type tty\r' 'see /dev/pts/' 'type exit 4\r'
}
case_keep_id_pod() {
    podman pod create --name together --userns keep-id
    is "$(run --pod together box id -u)" "$(id -u)"
    podman pod rm --force --time 0 together
}
case_nomap() { lacks "$(run --userns nomap box cat /proc/self/uid_map)" " $(id -u) "; }
case_keep_groups() {
    is "$(run --annotation run.oci.keep_original_groups=1 box id -G | wc -w)" "$(run --group-add keep-groups box id -G | wc -w)"
}
case_unshare() {
    is "$(podman unshare id -u)" 0
    # The runtime by hand, as podman calls it: root of a namespace that is there already.
    mkdir -p bundle/rootfs/bin && cp /bin/busybox bundle/rootfs/bin/
    (cd bundle && rm -f config.json && "$runtime" spec)
    jq '.process.terminal = false | .process.args = ["/bin/busybox", "echo", "by hand"] | del(.linux.resources)' \
        bundle/config.json >config && mv config bundle/config.json
    is "$(podman unshare "$runtime" run --bundle bundle by-hand)" 'by hand'
}
case_published_port() {
    keep --init --network bridge --publish 127.0.0.1:8083:80 box \
        sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    eventually says served busybox wget -q -O - http://127.0.0.1:8083/
    fails run --publish 127.0.0.1:83:80 box true
}
case_fuse_overlayfs() {
    local fuse=(podman --root "$work/fuse" --runroot "$work/fuse-run" --storage-driver overlay
        --storage-opt overlay.mount_program=/usr/bin/fuse-overlayfs)
    "${fuse[@]}" load --quiet --input box.tar
    is "$("${fuse[@]}" run --rm box sh -c 'echo written >/file; cat /file; grep " / " /proc/self/mounts | cut -d" " -f3' | tr '\n' ' ')" \
        'written fuse.fuse-overlayfs '
}
case_limits_that_cannot_be_had_are_told() {
    [ -n "$(controllers_missing memory)" ] || skip 'the memory controller is delegated to this user'
    tells "$(run --memory 32m box true 2>&1 || true)" 'memory'
}
case_devices() {
    is "$(run --device /dev/fuse box sh -c 'test -c /dev/fuse && head -c 0 /dev/fuse && echo opened')" opened
    exits 1 run box mknod /dev/mine c 1 3
    is "$(run box sh -c 'head -c 3 /dev/zero | wc -c; echo >/dev/null')" 3
}
case_restart() {
    keep --init box sleep 60
    local before
    before=$(state Pid)
    podman restart --time 0 job
    [ "$before" != "$(state Pid)" ] || fail 'it is the same process'
    podman rm --force --time 0 job
    is "$(podman ps --all --quiet)" ''
}
case_nothing_is_anothers() {
    # In the directory of the runtime's records.
    keep --init box sleep 60
    local records
    records=$(find "$XDG_RUNTIME_DIR/${runtime##*/}" -mindepth 1)
    [ -n "$records" ] || fail 'there are no records'
    is "$(find "$XDG_RUNTIME_DIR/${runtime##*/}" ! -user "$(id -u)")" ''
}
