#!/bin/bash
# Shows what a container is: the same questions are asked on the host and inside.
#
#   integration/demo.sh             with the hako in $HAKO, or in PATH; as root
#
# Everything it makes is in one temporary directory and one cgroup, and is gone at the end, also
# after Ctrl-C.
set -euo pipefail

complain() {
    printf 'demo: %s\n' "$@" >&2
    exit 1
}

hako=${HAKO:-$(command -v hako || true)}
[ -n "$hako" ] || complain "there is no hako in PATH: run \`make demo\`, or set HAKO to the binary"
[ -x "$hako" ] || complain "there is no program $hako: run \`make\` first"
hako=$(realpath "$hako")
[ "$(id -u)" = 0 ] || complain 'devices, mounts and cgroups need root; the binary is built, so now:' \
    "    sudo HAKO='$hako' '$0'"
busybox=$(command -v busybox.static || command -v busybox || true)
[ -n "$busybox" ] || complain 'busybox is missing, the one program of the image:' \
    '    apt-get install busybox-static, or run integration/setup.sh demo as root'
case $(ldd "$busybox" 2>&1 || true) in
*'=>'*) complain "$busybox needs shared libraries, which the image has not:" \
    '    apt-get install busybox-static, or run integration/setup.sh demo as root' ;;
esac

name=hako-demo-$$
dir=$(mktemp -d "${TMPDIR:-/tmp}/$name.XXXXXX")
chmod 755 "$dir" # another user is root in one of the containers
bundle=$dir/bundle
rootfs=$bundle/rootfs

# --foreground leaves Ctrl-C to hako too; a hako that hangs is killed, and its container cleaned up.
hako() { timeout --foreground --signal=KILL 60 "$hako" --root "$dir/state" "$@"; }

clean_up() {
    status=$?
    trap '' INT TERM HUP # no second Ctrl-C half-way
    trap - EXIT
    hako delete --force "$name" >/dev/null 2>&1 || true
    rm -rf --one-file-system "$dir"
}
trap 'clean_up; exit $status' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

bold='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then bold=$'\e[1;36m' dim=$'\e[2m' plain=$'\e[0m'; fi
heading() { printf '\n%s── %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }

# --- the bundle: a directory with a root file system ...

mkdir -p "$rootfs"/{bin,dev,etc,proc,scenes,sys,tmp,home/demo}
cp "$busybox" "$rootfs/bin/busybox"
for applet in $("$rootfs/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$rootfs/bin/$applet"
done
printf 'root:x:0:0:root:/:/bin/sh\ndemo:x:1000:1000:demo:/home/demo:/bin/sh\n' >"$rootfs/etc/passwd"
printf 'root:x:0:\ndemo:x:1000:\naudio:x:29:\n' >"$rootfs/etc/group"
echo 'Welcome to the image. Nobody has changed this file.' >"$rootfs/etc/motd"

# What the containers run. The questions, one line each: what|answer.
cat >"$rootfs/scenes/questions" <<'SCENE'
bits() { # how many capabilities a mask has
    mask=$((0x$(sed -n "s/^$1:\t//p" /proc/self/status))) count=0
    while [ $mask -ne 0 ]; do count=$((count + (mask & 1))) mask=$((mask >> 1)); done
    echo $count
}
list() { echo $(ls "$@" 2>/dev/null); }

echo "my pid|$$"
echo "processes I see|$(ls -d /proc/[0-9]* | wc -l)"
echo "hostname|$(hostname)"
echo "user, group|$(id -u), $(id -g)"
echo "mounts I see|$(wc -l </proc/self/mounts)"
echo "devices in /dev|$(ls /dev | wc -l)"
echo "network interfaces|$(list /sys/class/net)"
echo "capabilities I have|$(bits CapEff)"
echo "... could ever gain|$(bits CapBnd)"
echo "no new privileges|$(sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)"
echo "open files at most|$(ulimit -n)"
for namespace in cgroup ipc mnt net pid user uts; do
    echo "$namespace namespace|$(readlink /proc/self/ns/$namespace | tr -dc 0-9)"
done
SCENE
cat >"$rootfs/scenes/processes" <<'SCENE'
id
sleep 10 &
/bin/busybox ps -o pid,user,args
cat /etc/motd
SCENE
cat >"$rootfs/scenes/mounts" <<'SCENE'
while read -r source place type options rest; do
    printf '%-14s %-9s %.54s\n' "$place" "$type" "$options"
done </proc/self/mounts
echo "/proc/keys has $(wc -c </proc/keys) bytes, /sys/firmware $(ls -A /sys/firmware | wc -l) files"
SCENE
cat >"$rootfs/scenes/forbidden" <<'SCENE'
try() {
    echo "# $*"
    "$@" 2>&1 | sed 's/^/    /'
}
try touch /etc/new
try mount -t tmpfs none /tmp
try mknod /tmp/disk b 8 0
try hostname other
try sysctl -w kernel.pid_max=99
try sh -c 'ulimit -n 1000'
try chown demo /tmp
echo '    (no complaint: CAP_CHOWN is one of the three capabilities it has)'
SCENE
cat >"$rootfs/scenes/changes" <<'SCENE'
echo 'I was here.' >/etc/motd
rm -r /home /bin/vi
cat /etc/motd
ls -d /home /bin/vi 2>&1
true
SCENE
cat >"$rootfs/scenes/service" <<'SCENE'
trap 'echo "inside: SIGTERM, so I go"; exit 0' TERM
echo "inside: I am user $(id -u) with pid $$"
while :; do sleep 0.1; done
SCENE
echo 'exit 42' >"$rootfs/scenes/exit"

# --- ... and a config.json

config() { # config SCENE [USER READONLY [user-namespace]]
    local user=${2-'{"uid": 0, "gid": 0}'} readonly=${3-true} namespace='' mappings=''
    local map='[{"containerID": 0, "hostID": 100000, "size": 65536}]'
    if [ "${4-}" = user-namespace ]; then
        namespace=', {"type": "user"}'
        mappings="\"uidMappings\": $map, \"gidMappings\": $map,"
    fi
    cat >"$bundle/config.json" <<JSON
{
  "ociVersion": "1.0.2",
  "process": {
    "user": $user,
    "args": ["/bin/sh", "/scenes/$1"],
    "env": ["PATH=/bin", "TERM=dumb"],
    "cwd": "/",
    "capabilities": {
      "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"],
      "effective": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"],
      "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"]
    },
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}],
    "noNewPrivileges": true
  },
  "root": {"path": "rootfs", "readonly": $readonly},
  "hostname": "box",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs",
     "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "nodev", "mode=1777", "size=1m"]}
  ],
  "linux": {
    "cgroupsPath": "/$name",
    "namespaces": [
      {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
      {"type": "cgroup"}$namespace
    ],
    $mappings
    "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}
JSON
}

demo='{"uid": 1000, "gid": 1000, "additionalGids": [29]}'
contents() { (cd "$rootfs" && find . -type f -exec cksum {} + && find . | sort) | cksum; }

# --- what one sees

printf 'hako runs containers from the bundle %s\n' "$bundle"
note "$(hako --version | head -n 1), Linux $(uname -r)"

heading 'The same questions, outside and inside'
"$rootfs/bin/busybox" sh "$rootfs/scenes/questions" >"$dir/host" </dev/null
config questions "$demo"
hako run --bundle "$bundle" "$name" >"$dir/container" </dev/null
paste -d'|' "$dir/host" <(cut -d'|' -f2 "$dir/container") | awk -F'|' '
    BEGIN { printf "%-22s %-22s %s\n", "", "on the host", "in the container" }
    { printf "%-22s %-22s %-14s %s\n", $1, $2, $3, $1 ~ / namespace$/ ? ($2 == $3 ? "shared" : "its own") : "" }'

heading 'Its processes: its first one is pid 1, and nobody else is there'
config processes "$demo"
hako run --bundle "$bundle" "$name" </dev/null

heading 'Its mounts: the root is read-only, secrets of the kernel are masked'
config mounts
hako run --bundle "$bundle" "$name" </dev/null

heading 'What root in it may not do'
config forbidden
hako run --bundle "$bundle" "$name" </dev/null

heading 'hako run --overlay: the container changes everything, and nothing has changed'
before=$(contents)
config changes '{"uid": 0, "gid": 0}' false
hako run --overlay --bundle "$bundle" "$name" </dev/null
note 'The container is gone. The bundle, on the host:'
(cd "$bundle" && cat rootfs/etc/motd && ls -d rootfs/home rootfs/bin/vi)
if [ "$before" = "$(contents)" ]; then
    echo 'every file is as it was before'
else
    echo 'the rootfs has CHANGED'
    exit 1
fi

heading 'Step by step, as an engine does it: create, start, state, kill, delete'
user_namespace='user-namespace'
if [ "$(cat /proc/sys/user/max_user_namespaces)" = 0 ]; then
    user_namespace=''
    note 'This host allows no user namespaces: root in there is root out here.'
fi
config service '{"uid": 0, "gid": 0}' true "$user_namespace"
hako create --bundle "$bundle" --pid-file "$dir/pid" "$name" </dev/null
pid=$(cat "$dir/pid")
hako start "$name"
sleep 0.3
echo "outside: it is user $(stat -c %u "/proc/$pid") with pid $pid"
hako state "$name"
hako list
hako kill "$name" TERM
for _ in $(seq 50); do
    case $(hako state "$name") in *'"stopped"'*) break ;; esac
    sleep 0.1
done
hako delete "$name"

heading 'How it is made: hako explain prints the plan, and does nothing'
hako explain --bundle "$bundle" "$name" >"$dir/plan"
head -n 24 "$dir/plan"
note "  ... and $(($(wc -l <"$dir/plan") - 24)) steps more"

heading 'The exit code comes through'
config exit "$demo"
code=0
hako run --bundle "$bundle" "$name" </dev/null || code=$?
echo "exit 42 in the container: hako's exit code is $code"

heading 'And an error says what, where and why'
sed -i 's|"/bin/sh",|"/bin/shell",|; s|"mounts":|"mounst":|' "$bundle/config.json"
hako run --overlay --bundle "$bundle" "$name" </dev/null 2>&1 || true

heading 'Nothing is left behind'
clean_up
left=$(
    ls -d "$dir" 2>/dev/null
    find /sys/fs/cgroup -maxdepth 2 -name "$name*" # as long as a process were left, so would be its cgroup
    grep -F "$dir" /proc/self/mounts
) || true
echo "${left:-no process, no mount, no cgroup, no file}"
[ -z "$left" ] && [ "$code" = 42 ]
