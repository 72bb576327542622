#!/bin/sh
# Fuzzes each target for a number of seconds (30 unless told).
#
# What was found stays below target/fuzz: inputs that reach new code in corpus/, failing ones in
# artifacts/. The first inputs are those of other tests (fuzz/seeds.py).
set -eu
cd "$(dirname "$0")"

export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
if ! command -v cargo-fuzz >/dev/null; then
    echo 'fuzz: installing cargo-fuzz from crates.io (once; a minute or two)'
    cargo install --quiet --locked cargo-fuzz
fi

work=$(realpath -m "${CARGO_TARGET_DIR:-../target}")/fuzz
# cargo-fuzz has compiler flags of its own, which take the place of those that say where this is.
LIBSECCOMP_LIB_PATH=$(dirname "$(cc -print-file-name=libseccomp.a)")
export LIBSECCOMP_LIB_PATH

for target in $(cargo fuzz list); do
    echo "== $target"
    corpus=$work/corpus/$target
    mkdir -p "$corpus" "$work/artifacts/$target"
    python3 fuzz/seeds.py "$target" "$corpus"
    # Without a sanitizer a stable compiler is enough; the code is safe Rust, so it is panics, hangs
    # and broken promises that are looked for.
    cargo fuzz run --sanitizer none --target-dir "$work/build" "$target" "$corpus" -- \
        -max_total_time="${1:-30}" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -dict=fuzz/config.dict \
        -artifact_prefix="$work/artifacts/$target/" -print_final_stats=1 -verbosity=1
done
# cargo-fuzz makes these whether or not they are used.
rmdir fuzz/artifacts/* fuzz/artifacts 2>/dev/null || true
