#!/bin/bash
# docker network.

tidy() {
    docker container ls --all --quiet | xargs --no-run-if-empty docker container rm --force
    docker network prune --force
}

case_names_of_containers() {
    docker network create ours
    docker run --detach --name server --network ours --network-alias alias box \
        sh -c 'echo served >/tmp/index.html; httpd -f -p 80 -h /tmp'
    is "$(run --network ours box wget -q -O - http://server/)" served
    is "$(run --network ours box wget -q -O - http://alias/)" served
}
case_subnet_and_address() {
    docker network create --subnet 10.77.0.0/24 --gateway 10.77.0.1 ours
    has "$(run --network ours --ip 10.77.0.9 --mac-address 02:00:00:00:00:09 box ip address show eth0)" 10.77.0.9/24
    has "$(run --network ours box ip route)" 'default via 10.77.0.1'
}
case_connect_a_running_one() {
    docker network create ours
    keep box sleep 60
    docker network connect ours job
    is "$(docker exec job sh -c 'cd /sys/class/net; echo *')" 'eth0 eth1 lo'
    docker network disconnect ours job
    is "$(docker exec job sh -c 'cd /sys/class/net; echo *')" 'eth0 lo'
}
case_internal() {
    docker network create --internal ours
    lacks "$(run --network ours box ip route)" default
}
case_ls_and_rm() {
    docker network create ours
    has "$(docker network ls --format '{{.Name}}')" ours
    docker network rm ours
    lacks "$(docker network ls --format '{{.Name}}')" ours
}
