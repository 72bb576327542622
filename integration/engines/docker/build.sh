#!/bin/bash
# docker image build, with BuildKit and with the legacy builder.

begin_theme() { mkdir -p context/sub && echo copied >context/file && echo below >context/sub/file && tar -C context -cf context/packed.tar sub; }
tidy() {
    docker container ls --all --quiet | xargs --no-run-if-empty docker container rm --force
    docker image rm --force built
}

builder=1
build() { DOCKER_BUILDKIT=$builder BUILDKIT_PROGRESS=plain docker build --tag built --file - "$@" context 2>&1; }

every_instruction() {
    build --build-arg GREETING=hello --target final <<'DOCKERFILE'
ARG BASE=box
FROM $BASE AS first
RUN echo from the first stage >/first
FROM first AS unused
RUN echo never
FROM box AS final
ARG GREETING=none
ENV WORD=$GREETING
LABEL who=us
WORKDIR /work
COPY file sub/file ./
COPY --chown=web:web file owned
COPY --from=first /first /first
ADD packed.tar /unpacked/
ADD file /added
RUN echo "$WORD in $(pwd) as $(id -un)" >/ran && test -f file
RUN ["/bin/sh", "-c", "echo exec form >>/ran"]
SHELL ["/bin/sh", "-e", "-c"]
USER web
RUN id -un >/tmp/ran-by
VOLUME /data
EXPOSE 80
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=1s CMD true
ENTRYPOINT ["echo", "entry"]
CMD ["command"]
DOCKERFILE
    is "$(run built)" 'entry command'
    is "$(run built other)" 'entry other'
    is "$(run --entrypoint cat built /ran | tr '\n' ' ')" 'hello in /work as root exec form '
    is "$(run --entrypoint cat built /first /added /unpacked/sub/file /tmp/ran-by | tr '\n' ' ')" \
        'from the first stage copied below web '
    is "$(run --entrypoint stat built -c %U owned)" web
    is "$(run --entrypoint pwd built)" /work
    is "$(run --entrypoint id built -un)" web
    has "$(run --entrypoint cat built /proc/self/mounts)" ' /data '
    is "$(docker inspect --format '{{.Config.StopSignal}} {{.Config.Labels.who}} {{.Config.Healthcheck.Test}}' built)" \
        'SIGUSR1 us [CMD-SHELL true]'
}
cached() { # WORD: what the builder says of a step that is not run again
    local dockerfile='FROM box
RUN cat /proc/sys/kernel/random/uuid >/once
COPY file /file'
    build <<<"$dockerfile"
    local once
    once=$(run built cat /once)
    has "$(build <<<"$dockerfile")" "$1"
    is "$(run built cat /once)" "$once"
    build --no-cache <<<"$dockerfile"
    [ "$(run built cat /once)" != "$once" ] || fail 'it is the same in spite of --no-cache'
}
failing() {
    has "$(exits 1 build <<<'FROM box
RUN echo told && exit 7')" 'returned a non-zero code: 7'
}

case_buildkit_every_instruction() { every_instruction; }
case_buildkit_cache() { cached CACHED; }
case_buildkit_failing_step() { has "$(exits 1 build <<<'FROM box
RUN echo told && exit 7')" 'exit code: 7'; }
case_buildkit_missing_program() { tells "$(exits 1 build <<<'FROM box
RUN ["/missing"]')" 'no such file or directory'; }
case_buildkit_mounts() {
    echo secret >secret
    has "$(build --secret id=it,src=secret <<<'FROM box
RUN --mount=type=secret,id=it cat /run/secrets/it
RUN --mount=type=tmpfs,target=/scratch touch /scratch/x
RUN --mount=type=bind,target=/context cat /context/file
RUN --mount=type=cache,target=/cache echo >>/cache/n; wc -l </cache/n')" secret
}
case_buildkit_network() {
    build <<<'FROM box
RUN cat /proc/net/dev >/net'
    has "$(run built cat /net)" eth0
    build --network none <<<'FROM box
RUN grep -o "[a-z0-9]*:" /proc/net/dev >/net'
    is "$(run built cat /net)" lo:
}
case_buildkit_parallel_stages() {
    build <<<'FROM box AS a
RUN sleep 1; echo a >/a
FROM box AS b
RUN sleep 1; echo b >/b
FROM box
COPY --from=a /a /
COPY --from=b /b /'
    is "$(run built cat /a /b | tr '\n' ' ')" 'a b '
}
case_buildkit_cancelled() {
    timeout --signal INT 3 docker build --tag built --file - context >/dev/null 2>&1 <<<'FROM box
RUN sleep 4714' || true
    eventually not_running 'sleep 4714'
}
not_running() { ! pgrep -f "$1"; }
case_buildkit_prune() { docker builder prune --force --all; }
case_buildkit_leaves_nothing() {
    is "$(find /sys/fs/cgroup/docker/buildkit -mindepth 1 -type d 2>/dev/null)" ''
    is "$("$runtime" list --quiet 2>/dev/null)" ''
}
case_legacy_every_instruction() { builder=0 && every_instruction; }
case_legacy_cache() { builder=0 && cached 'Using cache'; }
case_legacy_failing_step() { builder=0 && failing; }
