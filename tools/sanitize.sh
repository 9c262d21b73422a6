#!/usr/bin/env bash
# Undefined behaviour, wrong memory, races: what a toolchain has of Miri, the address and the thread sanitizer.
# tools/sanitize.sh [miri] [address] [thread]; all without a word. What is missing is said, and is no failure.
set -u
cd "$(dirname "$0")/.."
python=$(command -v "${PYTHON:-.venv/bin/python}")
target=$(rustc -vV | sed -n 's/^host: //p')
parts=${*:-miri address thread}
failed=0

run() {
    echo "== $*"
    local begun=$SECONDS
    env "$@" || failed=1
    echo "== after $((SECONDS - begun)) s"
}

missing() {
    echo "== $1 left out: $2"
}

# Few and short: Miri is a thousand times as slow. It has no SIMD beyond the plain loops, and no fork. Helpers sleep until the
# process ends, and the team of them is never freed.
miri() {
    cargo +nightly miri --version >/dev/null 2>&1 || {
        missing Miri "rustup toolchain install nightly --component miri --component rust-src"
        return
    }
    run FLUXRS_ISA=plain RAYON_NUM_THREADS=3 CARGO_TARGET_DIR=target/miri \
        MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-tree-borrows -Zmiri-permissive-provenance" \
        cargo +nightly miri test --locked -p fluxrs --test miri
}

# $1: the sanitizer, $2: its library for Python, $3: further flags of cargo, $4: tests of the core, $5: tests of the module
sanitizer() {
    # Without much optimisation it is compiled in a third of the time; `sanitized` leaves every piece of memory to the system.
    local dir="$PWD/target/$1" library
    export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$dir" CARGO_PROFILE_RELEASE_OPT_LEVEL=1
    export RUSTFLAGS="-Zsanitizer=$1 -Cforce-frame-pointers=yes --cfg sanitized"
    # shellcheck disable=SC2086
    run RAYON_NUM_THREADS=4 cargo test --locked --release $3 --target "$target" -p fluxrs $4
    library=$(gcc -print-file-name="$2" 2>/dev/null)
    if [ ! -e "$library" ]; then
        missing "the module's suite" "$2 comes with gcc"
        return
    fi
    # shellcheck disable=SC2086
    run cargo build --locked --release $3 --target "$target" -p fluxrs-python --no-default-features
    rm -rf "$dir/python" && cp -r python "$dir/python" && rm -f "$dir"/python/fluxrs/_core.*
    cp "$dir/$target/release/lib_core.so" "$dir/python/fluxrs/_core.abi3.so" || return
    # Exceptions of other modules' C++ need its library before the sanitizer asks for it.
    library="$library:$(gcc -print-file-name=libstdc++.so.6)"
    # Python and NumPy free nothing at the end, and a child that is forked has no leaks of its own.
    # shellcheck disable=SC2086
    run setarch -R env LD_PRELOAD="$library" PYTHONMALLOC=malloc PYTHONPATH="$dir/python" RAYON_NUM_THREADS=4 \
        ASAN_OPTIONS=detect_leaks=0:use_sigaltstack=0:allocator_may_return_null=1:max_allocation_size_mb=6000 \
        TSAN_OPTIONS="ignore_noninstrumented_modules=1 die_after_fork=0" \
        "$python" -m pytest -q -p no:cacheprovider -o timeout=3000 $5
}

for part in $parts; do
    case $part in
    miri) miri ;;
    address)
        # A sanitizer needs more addresses and more stack than some tests leave, and the GPU's device is not in this module.
        (
            sanitizer address libasan.so "" "--test ops --test pool --test regressions --test threads --test fuzz" \
                "$(grep -L 'RLIMIT_AS\|stack_size\|FLUXRS_GPU' tests/test_*.py | tr '\n' ' ')"
            exit $failed
        ) || failed=1
        ;;
    thread)
        if [ -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
            (
                sanitizer thread libtsan.so "-Zbuild-std" "--test threads --test pool --test ops --test fuzz" \
                    "tests/test_threads.py tests/test_interrupt.py"
                exit $failed
            ) || failed=1
        else
            missing "the thread sanitizer" "it wants a standard library made with it: rustup component add rust-src"
        fi
        ;;
    *) echo "miri, address or thread; not $part" && exit 2 ;;
    esac
done
exit $failed
