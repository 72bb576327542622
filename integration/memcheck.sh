#!/bin/sh
# Runs the unit tests with AddressSanitizer, which sees what unsafe code does to memory. It needs the
# nightly Rust: `rustup toolchain install nightly --profile minimal`.
set -eu
cd "$(dirname "$0")/.."

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo 'memcheck: there is no nightly Rust: rustup toolchain install nightly --profile minimal' >&2
    exit 1
fi

# The sanitizer is a part of the program that a static executable has no place for: these flags take
# the place of the usual ones, which say where libseccomp is, too. What is built is kept apart.
LIBSECCOMP_LIB_PATH=$(dirname "$(cc -print-file-name=libseccomp.a)")
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/memcheck
export LIBSECCOMP_LIB_PATH CARGO_TARGET_DIR RUSTFLAGS=-Zsanitizer=address
exec cargo +nightly test --package hako --lib
