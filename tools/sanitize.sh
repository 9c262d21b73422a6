#!/usr/bin/env bash
# Undefined behaviour, wrong memory, races: what a toolchain has of Miri, the address and the thread sanitizer.
# tools/sanitize.sh [miri] [address] [thread]; all without a word. What is missing is said, and is no failure.
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
target=$(rustc -vV | sed -n 's/^host: //p')
parts=${*:-miri address thread}
failed=0

run() {
    echo "== $*"
    env "$@" || failed=1
}

missing() {
    echo "== $1 left out: $2"
}

# Few and short: Miri is a thousand times as slow. It has no SIMD beyond the plain loops, and no fork.
miri() {
    cargo +nightly miri --version >/dev/null 2>&1 || {
        missing Miri "rustup toolchain install nightly --component miri --component rust-src"
        return
    }
    run FLUXRS_ISA=plain MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-tree-borrows" CARGO_TARGET_DIR=target/miri \
        cargo +nightly miri test -p fluxrs --test fold --test regressions
}

# $1: the sanitizer, $2: its library for Python, $3: further flags of cargo, $4: how Python runs
module() {
    local flags="-Zsanitizer=$1 -Cforce-frame-pointers=yes" dir="target/$1"
    local library
    library=$(gcc -print-file-name="$2" 2>/dev/null)
    export RUSTC_BOOTSTRAP=1
    # shellcheck disable=SC2086
    run RUSTFLAGS="$flags" CARGO_TARGET_DIR="$dir" cargo test --release $3 --target "$target" -p fluxrs --test pool --test ops --test fuzz
    if [ ! -e "$library" ]; then
        missing "the module's suite" "$2 comes with gcc"
        return
    fi
    # shellcheck disable=SC2086
    run RUSTFLAGS="$flags" CARGO_TARGET_DIR="$dir" cargo build --release $3 --target "$target" -p fluxrs-python --no-default-features || return
    rm -rf "$dir/python" && cp -r python "$dir/python"
    cp "$dir/$target/release/lib_core.so" "$dir/python/fluxrs/_core.abi3.so"
    # Python and NumPy free nothing at the end, and a child that is forked has no leaks of its own.
    run LD_PRELOAD="$library" PYTHONMALLOC=malloc PYTHONPATH="$dir/python" ASAN_OPTIONS=detect_leaks=0:use_sigaltstack=0 \
        TSAN_OPTIONS="ignore_noninstrumented_modules=1 die_after_fork=0" $4
}

for part in $parts; do
    case $part in
    miri) miri ;;
    address) module address libasan.so "" "$python -m pytest -q -p no:cacheprovider" ;;
    thread)
        if [ -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
            module thread libtsan.so "-Zbuild-std" "$python -m pytest -q -p no:cacheprovider tests/test_interrupt.py tests/test_programs.py"
        else
            missing "the thread sanitizer" "it wants a standard library made with it: rustup component add rust-src"
        fi
        ;;
    *) echo "miri, address or thread; not $part" && exit 2 ;;
    esac
done
exit $failed
