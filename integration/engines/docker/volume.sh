#!/bin/bash
# docker volume.

tidy() {
    docker container ls --all --quiet | xargs --no-run-if-empty docker container rm --force
    docker volume prune --force --all
}

case_kept_between_containers() {
    docker volume create data
    run --volume data:/data box sh -c 'echo kept >/data/file'
    is "$(run --volume data:/data:ro box cat /data/file)" kept
    exits 1 run --volume data:/data:ro box touch /data/new
}
case_filled_from_the_image() { is "$(run --volume fresh:/etc box ls /etc/passwd)" /etc/passwd; }
case_nocopy() { exits 1 run --volume fresh:/etc:nocopy box ls /etc/passwd; }
case_anonymous() {
    keep --volume /data box sleep 60
    is "$(docker volume ls --quiet | wc -l)" 1
    docker rm --force --volumes job
    is "$(docker volume ls --quiet | wc -l)" 0
}
case_volumes_from() {
    keep --volume data:/data box sh -c 'echo shared >/data/file; sleep 60'
    eventually says shared docker run --rm --volumes-from job box cat /data/file
}
case_subpath() {
    run --volume data:/data box mkdir -p /data/below
    run --volume data:/data box sh -c 'echo deep >/data/below/file'
    is "$(run --mount type=volume,source=data,target=/m,volume-subpath=below box cat /m/file)" deep
}
case_tmpfs_volume() {
    docker volume create --driver local --opt type=tmpfs --opt device=tmpfs --opt o=size=1m memory
    has "$(run --volume memory:/m box grep ' /m ' /proc/self/mounts)" size=1024k
    docker volume rm memory
}
case_ls_inspect_rm() {
    docker volume create data
    is "$(docker volume inspect --format '{{.Driver}}' data)" local
    docker volume rm data
    is "$(docker volume ls --quiet)" ''
}
