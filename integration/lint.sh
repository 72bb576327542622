#!/bin/sh
# Everything that can be said about the code without running it.
set -eu
cd "$(dirname "$0")/.."

cargo fmt --all --check
# Not a member of the workspace.
cargo fmt --manifest-path integration/fuzz/Cargo.toml --check
cargo clippy --quiet --workspace --all-targets -- -D warnings
# Not a test that cargo runs of itself.
cargo clippy --quiet --package hako-integration --test unified -- -D warnings

# Scripts with names that say nothing of shell.
scripts=$(grep -rlE --exclude-dir=target '^#!/bin/(ba)?sh' integration .ci | tr '\n' ' ')

for tool in 'cargo-deny cargo deny --log-level error check bans licenses sources' \
    "shellcheck shellcheck $scripts"; do
    # shellcheck disable=SC2086 # the first word is the program to look for, the rest the command
    set -- $tool
    if command -v "$1" >/dev/null; then
        shift
        "$@"
    else
        echo "lint: $1 is not installed: skipped"
    fi
done
echo 'lint: ok'
