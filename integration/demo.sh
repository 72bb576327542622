#!/bin/bash
# Shows what a container is: the same questions are asked on the host and inside.
#
# Everything it makes is in one temporary directory and one cgroup, and is gone at the end.
# shellcheck disable=SC2016 # scripts in single quotes are for the shell in the container
set -euo pipefail

hako=${HAKO:-$(command -v hako || true)}
[ -x "$hako" ] || { echo "demo: no hako at '$hako': run make first" >&2; exit 1; }
if [ "$(id -u)" != 0 ]; then
    echo "demo: making a container with devices, mounts and cgroups needs root; the binary is built, so now:" >&2
    echo "    sudo HAKO='$hako' '$0'" >&2
    exit 1
fi

name=hako-demo-$$
dir=$(mktemp -d "${TMPDIR:-/tmp}/$name.XXXXXX")
chmod 755 "$dir" # another user is root in the last container
bundle=$dir/bundle
rootfs=$bundle/rootfs

clean_up() {
    hako delete --force "$name" >/dev/null 2>&1 || true
    rm -rf --one-file-system "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

hako() { timeout 60 "$hako" --root "$dir/state" "$@"; }

bold='' dim='' plain=''
if [ -t 1 ]; then bold=$'\e[1;36m' dim=$'\e[2m' plain=$'\e[0m'; fi
heading() { printf '\n%s── %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }

# --- the bundle: a directory with a root file system and a config.json

mkdir -p "$rootfs"/{bin,dev,etc,proc,sys,tmp,home/demo}
cp "$(command -v busybox)" "$rootfs/bin/busybox"
for applet in $("$rootfs/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$rootfs/bin/$applet"
done
printf 'root:x:0:0:root:/:/bin/sh\ndemo:x:1000:1000:demo:/home/demo:/bin/sh\n' >"$rootfs/etc/passwd"
printf 'root:x:0:\ndemo:x:1000:\naudio:x:29:\n' >"$rootfs/etc/group"
echo 'Welcome to the image. Nobody has changed this file.' >"$rootfs/etc/motd"

# The questions, one line each: what|answer.
cat >"$rootfs/bin/look" <<'LOOK'
#!/bin/sh
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
LOOK
chmod +x "$rootfs/bin/look"

config() { # config USER READONLY SCRIPT [user-namespace]
    local user_namespace='' mappings='' map='[{"containerID": 0, "hostID": 100000, "size": 65536}]'
    if [ "${4-}" = user-namespace ]; then
        user_namespace=', {"type": "user"}'
        mappings="\"uidMappings\": $map, \"gidMappings\": $map,"
    fi
    local script=${3//\\/\\\\}
    script=${script//\"/\\\"}
    script=${script//$'\n'/\\n}
    cat >"$bundle/config.json" <<JSON
{
  "ociVersion": "1.0.2",
  "process": {
    "user": $1,
    "args": ["/bin/sh", "-c", "$script"],
    "env": ["PATH=/bin", "HOME=/home/demo", "TERM=${TERM:-dumb}"],
    "cwd": "/",
    "capabilities": {
      "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"],
      "effective": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"],
      "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"]
    },
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}],
    "noNewPrivileges": true
  },
  "root": {"path": "rootfs", "readonly": $2},
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
      {"type": "cgroup"}$user_namespace
    ],
    $mappings
    "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}
JSON
}

root='{"uid": 0, "gid": 0}'
demo='{"uid": 1000, "gid": 1000, "additionalGids": [29]}'
contents() { (cd "$rootfs" && find . -type f -exec cksum {} + && find . | sort) | cksum; }

# --- what one sees

printf 'hako runs a container from %s\n' "$bundle"
note "$("$hako" --version | head -n 1), Linux $(uname -r)"

heading 'The same program, outside and inside'
"$rootfs/bin/busybox" sh "$rootfs/bin/look" >"$dir/host" </dev/null
config "$demo" true '. /bin/look'
hako run --bundle "$bundle" "$name" >"$dir/container" </dev/null
paste -d'|' "$dir/host" <(cut -d'|' -f2 "$dir/container") | awk -F'|' '
    BEGIN { printf "%-22s %-22s %s\n", "", "on the host", "in the container" }
    { printf "%-22s %-22s %-14s %s\n", $1, $2, $3, $1 ~ / namespace$/ ? ($2 == $3 ? "shared" : "its own") : "" }'

heading 'Its processes: its own first one is pid 1, and nobody else is there'
config "$demo" true 'id; echo; ps -o pid,user,args; echo; cat /etc/motd'
hako run --bundle "$bundle" "$name" </dev/null

heading 'Its mounts: the root is read-only, secrets of the kernel are masked'
config "$root" true 'cut -d" " -f1-4 /proc/self/mounts | cut -c1-100'
hako run --bundle "$bundle" "$name" </dev/null

heading 'What root in it may not do'
config "$root" true 'try() { echo "\$ $*"; "$@" 2>&1 | sed "s/^/    /"; }
try touch /etc/new
try mount -t tmpfs none /tmp
try mknod /tmp/disk b 8 0
try hostname other
try sysctl -w kernel.pid_max=99
try sh -c "ulimit -n 1000"
try chown demo /tmp
echo "    (this one worked: CAP_CHOWN is one of its three capabilities)"'
hako run --bundle "$bundle" "$name" </dev/null

heading 'hako run --overlay: it changes everything, and nothing has changed'
before=$(contents)
config "$root" false 'echo "I was here." >/etc/motd
rm -r /home /bin/vi
cat /etc/motd
ls -d /home /bin/vi 2>&1
true'
hako run --overlay --bundle "$bundle" "$name" </dev/null
note 'The container is gone. The bundle, on the host:'
cat "$rootfs/etc/motd"
ls -d "$rootfs/home" "$rootfs/bin/vi"
if [ "$before" = "$(contents)" ]; then
    echo 'every file is as it was before'
else
    echo 'the rootfs has CHANGED'
    exit 1
fi

heading 'Step by step, as an engine does it: create, start, state, kill, delete'
config "$root" true 'trap "exit 0" TERM
echo "inside I am user $(id -u) with pid $$"
while :; do sleep 0.1; done' user-namespace
hako create --bundle "$bundle" --pid-file "$dir/pid" "$name" </dev/null
pid=$(cat "$dir/pid")
hako start "$name"
sleep 0.5
echo "on the host I am user $(stat -c %u "/proc/$pid") with pid $pid: root in there is nobody out here"
hako state "$name"
hako list
hako kill "$name" TERM
for _ in $(seq 50); do
    case $(hako state "$name") in *stopped*) break ;; esac
    sleep 0.1
done
hako delete "$name"

heading 'The exit code comes through'
config "$demo" true 'exit 42'
code=0
hako run --bundle "$bundle" "$name" </dev/null || code=$?
echo "exit 42 in the container: hako's exit code is $code"

heading 'And an error says what, where and why'
sed -i 's|"/bin/sh", "-c"|"/bin/shell", "-c"|' "$bundle/config.json"
hako run --bundle "$bundle" "$name" </dev/null || true

heading 'Nothing is left behind'
clean_up
left=$(
    ls -d "$dir" 2>/dev/null
    find /sys/fs/cgroup -maxdepth 2 -name "$name*"
    grep -F "$dir" /proc/self/mounts
) || true
echo "${left:-no process, no mount, no cgroup, no file}"
[ -z "$left" ] && [ "$code" = 42 ]
