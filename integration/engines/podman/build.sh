#!/bin/bash
# podman build: buildah with the runtime.

begin_theme() { mkdir -p context && echo copied >context/file; }
tidy() { podman rmi --force --ignore built; }

# Its own limits are above what root may have where CAP_SYS_RESOURCE is missing.
build() {
    podman build --isolation oci --runtime "$(podman_runtime)" --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 \
        --tag built --file - "$@" context
}

case_every_instruction() {
    build --build-arg GREETING=hello <<'DOCKERFILE'
FROM localhost/box AS first
RUN echo from the first stage >/first
FROM localhost/box
ARG GREETING=none
ENV WORD=$GREETING
WORKDIR /work
COPY file ./
COPY --from=first /first /first
ADD file /added
RUN echo "$WORD in $(pwd)" >/ran && test -f file
RUN --mount=type=tmpfs,target=/scratch touch /scratch/x
USER web
VOLUME /data
ENTRYPOINT ["echo", "entry"]
CMD ["command"]
DOCKERFILE
    is "$(run built)" 'entry command'
    is "$(run --entrypoint cat built /ran /first /added | tr '\n' ' ')" 'hello in /work from the first stage copied '
}
case_cache() {
    local dockerfile='FROM localhost/box
RUN date +%s%N >/time'
    build --layers <<<"$dockerfile"
    has "$(build --layers <<<"$dockerfile" 2>&1)" 'Using cache'
}
case_failing_step() { has "$(exits 7 build <<<'FROM localhost/box
RUN exit 7')" 'exit status 7'; }
case_network_none() {
    build --network none <<<'FROM localhost/box
RUN ls /sys/class/net >/net'
    is "$(run built cat /net)" lo
}
