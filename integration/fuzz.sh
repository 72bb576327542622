#!/bin/sh
# Fuzzes each target for a number of seconds (30 unless told).
set -eu
cd "$(dirname "$0")"

if ! command -v cargo-fuzz >/dev/null; then
    echo 'fuzz: cargo-fuzz is missing; get it with: cargo install cargo-fuzz (it needs a C++ compiler)' >&2
    exit 1
fi
# Without a sanitizer a stable compiler is enough; the crates are safe Rust, so it is panics, hangs and
# broken promises that are looked for.
export RUSTC_BOOTSTRAP=1
targets=$(cargo fuzz list)
for target in $targets; do
    echo "== $target"
    cargo fuzz run --sanitizer none "$target" -- -max_total_time="${1:-30}" -timeout=10 -rss_limit_mb=2048
done
