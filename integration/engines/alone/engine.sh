#!/bin/bash
# No engine: an ordinary user who is new here calls the runtime. Needs root, and systemd as pid 1. For sourcing.

themes=documented
newcomer=newcomer

start_engine() { useradd --create-home --shell /bin/bash "$newcomer" && sed -i "/^$newcomer:/d" /etc/subuid /etc/subgid; }
stop_engine() { systemctl stop "user@$(id -u "$newcomer")" && userdel --remove "$newcomer" 2>/dev/null; }
describe_engine() { echo "an ordinary user called $newcomer"; }
tidy() { :; }

log_in() { systemctl start "user@$(id -u "$newcomer")"; }
log_out() { systemctl stop "user@$(id -u "$newcomer")"; }

# as_user LINE: of shell, in a session of theirs.
as_user() {
    local id
    id=$(id -u "$newcomer")
    setpriv --reuid "$newcomer" --regid "$newcomer" --init-groups env -i -C "/home/$newcomer" PATH="${runtime%/*}:$PATH" \
        HOME="/home/$newcomer" USER="$newcomer" XDG_RUNTIME_DIR="/run/user/$id" \
        DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$id/bus" bash -euc "$1"
}
