#!/bin/bash
# docker compose: two services that find each other by name.

begin_theme() {
    mkdir -p project/client
    echo 'FROM box
RUN echo "wget -q -O - http://server/" >/ask && chmod +x /ask
CMD ["sleep", "3600"]' >project/client/Dockerfile
    cat >project/compose.yaml <<'YAML'
services:
  server:
    image: box
    init: true
    command: sh -c 'echo served to $$WHOM >/tmp/index.html; echo ready; exec httpd -f -p 80 -h /tmp'
    environment: {WHOM: you}
    volumes: ["data:/data"]
    healthcheck: {test: "wget -q -O /dev/null http://127.0.0.1/", interval: 1s, retries: 5}
  client:
    build: client
    init: true
    cap_drop: [ALL]
    read_only: true
    depends_on: {server: {condition: service_healthy}}
volumes: {data: {}}
YAML
}
end_theme() {
    compose down --volumes --timeout 1
    docker image rm --force project-client
}
# The services stay from case to case.
tidy() { :; }
compose() { docker compose --progress plain --project-directory "$work/project" "$@"; }
running() { compose ps --services --status running | sort | tr '\n' ' '; }
up() { [ "$(running)" = 'client server ' ] || compose up --detach; }

case_build() {
    compose build
    is "$(run --network none project-client cat /ask)" 'wget -q -O - http://server/'
}
case_up() {
    compose up --detach
    is "$(running)" 'client server '
}
case_ps() { up && is "$(compose ps --format '{{.Service}} {{.State}}' | sort | tr '\n' ' ')" 'client running server running '; }
case_found_by_name() { up && is "$(compose exec -T client sh /ask)" 'served to you'; }
case_logs() { up && has "$(compose logs server)" ready; }
case_exec_user_and_code() {
    up
    is "$(compose exec -T --user web server id -un)" web
    exits 9 compose exec -T server sh -c 'exit 9'
}
case_exec_on_a_terminal() {
    up
    "$engines/terminal.py" "docker compose --project-directory $work/project exec server sh" 'see # ' 'type tty\r' 'see /dev/pts/' 'type exit\r'
}
case_run() {
    up
    is "$(compose run --rm -T client sh /ask)" 'served to you'
    exits 6 compose run --rm -T --no-deps client sh -c 'exit 6'
}
case_restart_and_stop() {
    up
    compose restart --timeout 1 client
    compose stop --timeout 1 client
    lacks "$(compose ps --services --status running)" client
    compose start client
    has "$(compose ps --services --status running)" client
}
case_scale() {
    up
    compose up --detach --scale client=3
    is "$(compose ps --quiet client | wc -l)" 3
    compose up --detach --scale client=1
}
case_pause() {
    needs_cgroup
    up
    compose pause server
    has "$(compose ps --all server)" Paused
    compose unpause server
}
case_down() {
    up
    compose down --volumes --timeout 1
    is "$(docker ps --all --quiet)" ''
    lacks "$(docker network ls --format '{{.Name}}')" project_
    lacks "$(docker volume ls --format '{{.Name}}')" project_
}
