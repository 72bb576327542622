#!/bin/bash
# What docs/engines.md tells to write, word for word.

file=/etc/containers/containers.conf
! rootless || file=~/.config/containers/containers.conf

begin_theme() { cp "$file" containers.conf; }
end_theme() { cp containers.conf "$file"; }

case_containers_conf() {
    about_hako || skip 'the documents are about hako'
    # Besides: what this machine cannot do without.
    {
        documented podman toml
        sed -n '/^\[containers\]/,/^\[engine\]/{/^\[engine\]/!p}' containers.conf
    } >"$file"
    is "$(podman info --format '{{.Host.OCIRuntime.Name}}')" hako
    is "$(run --log-driver k8s-file box echo hello)" hello
    has "$(exits 127 run box /missing)" 'no such file or directory'
    is "$(run --cgroups disabled box echo without a cgroup)" 'without a cgroup'
    podman --runtime /usr/local/bin/hako run --rm box true
}
