#!/bin/bash
# Containers at a real terminal.

on_terminal() { "$engines/terminal.py" "$@"; }

case_interactive_shell() {
    exits 5 on_terminal 'podman run --rm -it box' 'see # ' 'type tty\r' 'see /dev/pts/0' 'type exit 5\r'
}
case_resize() {
    on_terminal 'podman run --rm -it box sh' 'see # ' 'type echo up\r' 'see \nup' 'size 50x132' 'type sleep 1; stty size\r' 'see 50 132' 'type exit\r'
}
case_ctrl_c() {
    on_terminal 'podman run --rm -it box sh' 'see # ' 'type sh -c "echo busy; exec sleep 60"\r' 'see \nbusy' 'type \x03' \
        'see # ' 'type exit 0\r'
}
case_detach_and_attach() {
    on_terminal 'podman run -it --name job box sh' 'see # ' 'type x=kept\r' 'see # ' 'type \x10' 'type \x11'
    is "$(state Status)" running
    on_terminal 'podman attach job' 'type echo $x\r' 'see kept' 'type exit 3\r' || true
    is "$(podman wait job)" 3
}
case_exec() {
    keep --init box sleep 60
    exits 4 on_terminal 'podman exec -it job sh' 'see # ' 'type tty\r' 'see /dev/pts/' 'type exit 4\r'
}
