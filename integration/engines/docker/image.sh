#!/bin/bash
# docker image, and a registry on 127.0.0.1.

registry=127.0.0.1:5000
loopback="the daemon's loopback is that of rootlesskit"

begin_theme() {
    cat >registry.yaml <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/registry}, delete: {enabled: true}}
http: {addr: "$registry"}
YAML
    setsid docker-registry serve registry.yaml </dev/null >"$work/registry.log" 2>&1 &
    echo $! >"$work/registry.pid"
    eventually busybox wget -q -O - "http://$registry/v2/"
}
end_theme() { kill "$(cat "$work/registry.pid")"; }
tidy() {
    docker container ls --all --quiet | xargs --no-run-if-empty docker container rm --force
    docker image ls --filter dangling=false --format '{{.Repository}}:{{.Tag}}' | { grep -v '^box:latest$' || true; } |
        xargs --no-run-if-empty docker image rm --force
}

case_ls_and_tag() {
    docker tag box other:1
    is "$(docker image ls --format '{{.Repository}}:{{.Tag}}' other)" other:1
}
case_push_and_pull() {
    needs_root "$loopback"
    docker tag box $registry/box:1
    docker push $registry/box:1
    docker image rm $registry/box:1
    docker pull $registry/box:1
    is "$(run $registry/box:1 echo pulled)" pulled
}
case_pull_by_run() {
    needs_root "$loopback"
    docker tag box $registry/box:2
    docker push $registry/box:2
    docker image rm $registry/box:2
    is "$(run --quiet $registry/box:2 echo pulled)" pulled
    exits 1 docker pull $registry/missing:1
}
case_save_and_load() {
    docker tag box saved:1
    docker save --output saved.tar saved:1
    docker image rm saved:1
    docker load --input saved.tar
    is "$(run saved:1 echo loaded)" loaded
}
case_import_and_export() {
    docker create --name job box true && docker export --output exported.tar job && docker rm job
    docker import --change 'CMD ["echo", "imported"]' exported.tar imported:1
    is "$(run imported:1)" imported
}
case_rm() {
    docker tag box gone:1
    docker image rm gone:1
    exits 1 docker image inspect gone:1
}
case_prune() {
    docker build --tag dangling - <<<'FROM box
RUN echo 1 >/x' && docker build --tag dangling - <<<'FROM box
RUN echo 2 >/x'
    docker image prune --force
    is "$(docker image ls --quiet --filter dangling=true)" ''
}
case_history_and_inspect() {
    has "$(docker history box)" import
    is "$(docker image inspect --format '{{.Os}}' box)" linux
}
