#!/bin/bash
# Every test there is, with the closing lines of each runner together at the end.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

if [ "$(id -u)" != 0 ]; then
    echo 'test: the tests start real containers and need root; as yourself: make lint unit' >&2
    echo "test: as root with your Rust: sudo env PATH=\"\$PATH\" HOME=\"\$HOME\" make test" >&2
    exit 1
fi

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
summary=()
failed=0

closing='^(test result:|vm/test:|lint: .* skipped)'
# What the runners print of a failure.
failure='^test .* FAILED$|panicked at|^[a-z-]+ +[a-z]+/[a-z0-9_]+ +fail |^FAIL [^(]*$|^left behind:|^walk: |^error'

# step NAME COMMAND...: a step that fails fails the run, but not the steps after it.
step() {
    local name=$1 begin=$SECONDS verdict=ok
    shift
    printf '\n== %s\n' "$name"
    "$@" </dev/null 2>&1 | tee "$logs/log" || { verdict=FAILED failed=1; }
    summary+=("$(printf '%-24s %-6s %4d s' "$name" "$verdict" $((SECONDS - begin)))")
    while IFS= read -r line; do
        summary+=("    $line")
    done < <(
        grep -E "$closing" "$logs/log"
        [ "$verdict" = ok ] || grep -E --after-context 5 "$failure" "$logs/log" | head -n 60
    )
    [ "$verdict" = ok ]
}

# without_leaks COMMAND...: fails too when the tests leave something behind.
without_leaks() {
    integration/leaks.sh save "$logs/before" || return
    "$@"
    local result=$?
    integration/leaks.sh compare "$logs/before" && return $result
}

step 'release build' cargo build --release --package hako
# Without a binary the rest would say the same a hundred times.
if [ $failed = 0 ]; then
    step 'format, clippy, scripts' integration/lint.sh
    step 'unit tests' cargo test --workspace --exclude hako-integration
    step 'integration tests' without_leaks cargo test --package hako-integration
    step 'unified cgroups, systemd' without_leaks integration/vm/test
    step 'ordinary users, guest' integration/vm/test --all rootless::
    step 'engines' without_leaks integration/engines/test
    step 'engines, all limits' integration/engines/guest
    step 'conformance' without_leaks integration/conformance.sh test
    step 'conformance, all limits' integration/conformance.sh guest
    step 'syscall budget' cargo run --quiet --release --package hako-bench -- --budget
fi

printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
if [ $failed != 0 ]; then
    echo 'some tests FAILED'
    exit 1
fi
echo 'all tests passed'
