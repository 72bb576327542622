#!/bin/bash
# Containers at a real terminal: what a person sees and types.

busy='type sh -c "echo busy; exec sleep 60"\r'
on_terminal() { "$engines/terminal.py" "$@"; }

case_interactive_shell() {
    exits 5 on_terminal 'docker run --rm -it box' 'see # ' 'type tty\r' 'see /dev/pts/0' 'type exit 5\r'
}
case_size_from_the_start() {
    on_terminal 'docker run --rm -it box sh' 'see # ' 'type stty size\r' 'see 24 80' 'type exit\r'
}
case_resize() {
    on_terminal 'docker run --rm -it box sh' 'see # ' 'type echo up\r' 'see \nup' 'size 50x132' 'type sleep 1; stty size\r' 'see 50 132' 'type exit\r'
}
case_resize_reaches_the_program() {
    # Some clients listen to their terminal only when the program runs already.
    on_terminal "docker run --rm -it box sh -c 'sleep 2; trap \"stty size; exit\" WINCH; echo ready; while :; do sleep 0.1; done'" \
        'see ready' 'size 41x99' 'see 41 99'
}
case_ctrl_c() {
    exits 130 on_terminal 'docker run --rm -it box sh -c "trap \"exit 130\" INT; echo ready; while :; do sleep 0.1; done"' \
        'see ready' 'type \x03'
    on_terminal 'docker run --rm -it box sh' 'see # ' "$busy" 'see \nbusy' 'type \x03' 'see # ' 'type exit 0\r'
}
case_ctrl_c_without_a_terminal_inside() {
    exits 130 on_terminal 'docker run --rm -i --init box sh -c "echo ready; exec sleep 60"' 'see ready' 'type \x03'
}
case_detach_and_attach() {
    on_terminal 'docker run -it --name job box sh' 'see # ' 'type x=kept\r' 'see # ' 'type \x10' 'type \x11'
    is "$(state Status)" running
    exits 3 on_terminal 'docker attach job' 'type echo $x\r' 'see kept' 'type exit 3\r'
    is "$(state ExitCode)" 3
}
case_detach_keys() {
    on_terminal 'docker run -it --detach-keys ctrl-a,d --name job box sh' 'see # ' 'type \x01d'
    is "$(state Status)" running
}
case_console_is_the_terminal() {
    on_terminal 'docker run --rm -it box sh' 'see # ' 'type echo to the console >/dev/console\r' 'see \nto the console' 'type exit\r'
}
case_of_a_user() {
    on_terminal 'docker run --rm -it --user web box sh' 'see $ ' 'type stat -c %u $(tty)\r' 'see \n1000' 'type exit\r'
}
case_tty_without_input() {
    keep --tty box sh -c 'tty; echo done'
    docker wait job
    has "$(docker logs job)" /dev/pts/0
}
case_logs_are_whole() {
    keep --tty box seq 20000
    docker wait job
    # The client shows the terminal raw: the carriage returns are the container's.
    is "$(docker logs job | md5sum)" "$(seq 20000 | sed 's/$/\r/' | md5sum)"
}
case_newlines() {
    is "$(run --tty box echo a | od -An -c)" '   a  \r  \n'
    keep box sleep 60
    is "$(docker exec --tty job echo a | od -An -c)" '   a  \r  \n'
}
case_exec() {
    keep box sleep 60
    exits 4 on_terminal 'docker exec -it job sh' 'see # ' 'type tty; stty size\r' 'see /dev/pts/' 'see 24 80' 'size 30x90' \
        'type sleep 1; stty size\r' 'see 30 90' 'type exit 4\r'
}
case_exec_ctrl_c() {
    keep box sleep 60
    on_terminal 'docker exec -it job sh' 'see # ' "$busy" 'see \nbusy' 'type \x03' 'see # ' 'type exit 0\r'
}
