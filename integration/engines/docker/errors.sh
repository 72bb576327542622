#!/bin/bash
# What a user is told, and by which exit code: 125 for docker's own failures, 126 and 127 for a program that cannot run.

case_125_option() { exits 125 docker run --no-such-option box true; }
case_125_sysctl() { has "$(exits 125 run --sysctl net.ipv4.no_such_thing=1 box true)" no_such_thing; }
case_126_not_executable() { has "$(exits 126 run box /etc/passwd)" 'permission denied'; }
case_126_a_directory() { exits 126 run box /etc; }
case_127_missing() { has "$(exits 127 run box /no/such/program)" 'no such file or directory'; }
case_127_missing_in_path() { has "$(exits 127 run box no-such-program)" 'executable file not found in $PATH'; }
case_missing_interpreter() {
    docker create --name job box /script
    printf '#!/no/such/interpreter\n' >script && chmod +x script && docker cp script job:/script
    tells "$(docker start --attach job 2>&1 || true)" 'no such file or directory'
    [ "$(state ExitCode)" != 0 ] || fail 'it succeeds'
}
case_exec_format() {
    docker create --name job box /garbage
    echo 'MZ garbage' >garbage && chmod +x garbage && docker cp garbage job:/garbage
    tells "$(docker start --attach job 2>&1 || true)" 'exec format error'
}
case_mount_over_a_file() { has "$(exits 127 run --volume "$PWD:/etc/passwd" box true || exits 125 true)" 'directory'; }
case_a_failure_leaves_nothing() {
    exits 127 run box /no/such/program
    is "$(docker ps --all --quiet)" ''
    eventually nothing_is_left
}
