#!/bin/bash
# A swarm of one node: where one machine ends, and an engine for many begins.

begin_theme() {
    needs_root 'dockerd offers no overlay networks there'
    docker swarm init --advertise-addr 127.0.0.1
}
end_theme() { docker swarm leave --force; }
tidy() {
    docker service ls --quiet | xargs --no-run-if-empty docker service rm
    # Tasks end after their service.
    eventually no_containers
}
no_containers() { [ -z "$(docker ps --all --quiet)" ]; }

service() { docker service create --detach --name it --init --restart-delay 0s "$@" >/dev/null; }
replicas() { docker service ls --format '{{.Replicas}}'; }

case_replicas() {
    service --replicas 3 box sleep 3600
    eventually says 3/3 replicas
    is "$(docker ps --quiet | wc -l)" 3
}
case_scale() {
    service box sleep 3600
    docker service scale --detach it=4
    eventually says 4/4 replicas
    docker service scale --detach it=1
    eventually says 1/1 replicas
}
case_rolling_update() {
    service --replicas 2 --update-delay 0s --update-monitor 1s --env V=1 box sh -c 'echo version $V; exec sleep 3600'
    eventually says 2/2 replicas
    docker service update --detach --env-add V=2 it
    eventually says completed docker service inspect --format '{{.UpdateStatus.State}}' it
    eventually says 2/2 replicas
    for task in $(docker ps --quiet); do
        is "$(docker logs "$task")" 'version 2'
    done
}
case_a_dead_task_is_replaced() {
    service box sleep 3600
    eventually says 1/1 replicas
    local first
    eventually says . docker ps --quiet --format 'task {{.ID}}.'
    first=$(docker ps --quiet)
    docker kill "$first"
    eventually another_task "$first"
}
another_task() { [ -n "$(docker ps --quiet)" ] && [ "$(docker ps --quiet)" != "$1" ]; }
case_secret_and_config() {
    echo hidden | docker secret create s -
    echo shown | docker config create k -
    service --secret s --config k box sh -c 'cat /run/secrets/s /k; sleep 3600'
    eventually says hidden docker service logs it
    eventually says shown docker service logs it
    docker service rm it && docker secret rm s && docker config rm k
}
