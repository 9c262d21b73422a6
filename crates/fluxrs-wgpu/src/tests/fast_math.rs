//! The library as Metal would compile it: Metal takes sums and products apart and knows neither NaN nor infinity, and it cannot
//! be told otherwise. naga's translation is compiled as C++ with the same freedom and run over each function's whole range.

use super::math::{BINARY, UNARY, pairs, specials, spread, worst};
use crate::library;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// The C++ compiler, if there is one. With this set there must be.
const REQUIRED: &str = "FLUXRS_REQUIRE_CXX";

/// What a translation needs of Metal's own library.
const METAL: &str = "#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#define constant const
#define device
#define thread
#define threadgroup
namespace metal {
using uint = uint32_t;
struct float2 { float x, y; float2() : x(0), y(0) {} float2(float a, float b) : x(a), y(b) {} };
struct float4 { float x, y, z, w; };
struct uint2 { uint x, y; uint2() : x(0), y(0) {} uint2(uint a, uint b) : x(a), y(b) {} };
inline uint2 operator+(uint2 a, uint2 b) { return uint2(a.x + b.x, a.y + b.y); }
struct uint4 { uint x, y, z, w; uint4() : x(0), y(0), z(0), w(0) {}
  uint4(uint a, uint b, uint c, uint d) : x(a), y(b), z(c), w(d) {} };
inline float floor(float x) { return floorf(x); }
inline float abs(float x) { return fabsf(x); }
inline float sqrt(float x) { return sqrtf(x); }
inline uint clz(uint x) { return x ? __builtin_clz(x) : 32; }
template <class T> T min(T a, T b) { return a < b ? a : b; }
template <class T> T max(T a, T b) { return a > b ? a : b; }
template <class T> T clamp(T x, T a, T b) { return x < a ? a : x > b ? b : x; }
template <class T> T select(T a, T b, bool c) { return c ? b : a; }
}
template <class T, class U> T as_type(U x) { T y; static_assert(sizeof(T) == sizeof(U)); memcpy(&y, &x, sizeof y); return y; }
";

/// Translates `source` and compiles it with a program that evaluates `probe0(x, y)`, `probe1(x, y)`, … over files of floats.
fn program(source: &str, probes: usize, folder: &Path) -> bool {
    let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).unwrap();
    let options = naga::back::msl::Options { fake_missing_bindings: true, force_loop_bounding: false, ..Default::default() };
    let (text, _) = naga::back::msl::write_string(&module, &info, &options, &Default::default()).unwrap();
    let mut main =
        String::from("\n#include <cstdio>\n#include <vector>\ntypedef float (*Probe)(float, float);\nProbe probes[] = {");
    (0..probes).for_each(|i| write!(main, "probe{i}x, ").unwrap());
    main += "};
int main() {
  uint32_t head[2];
  while (fread(head, 4, 2, stdin) == 2) {
    std::vector<float> x(head[1]), y(head[1]);
    if (fread(x.data(), 4, head[1], stdin) != head[1] || fread(y.data(), 4, head[1], stdin) != head[1]) return 1;
    for (uint32_t i = 0; i < head[1]; i++) x[i] = probes[head[0]](x[i], y[i]);
    fwrite(x.data(), 4, head[1], stdout);
  }
}
";
    std::fs::create_dir_all(folder.join("simd")).unwrap();
    std::fs::write(folder.join("metal_stdlib"), METAL).unwrap();
    std::fs::write(folder.join("simd/simd.h"), "").unwrap();
    std::fs::write(folder.join("probe.cpp"), text + &main).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let built = Command::new(&compiler)
        .args(["-std=c++17", "-O2", "-ffast-math", "-fsingle-precision-constant", "-w", "-I."])
        .args(["probe.cpp", "-o", "probe"])
        .current_dir(folder)
        .output();
    match built {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(why) => {
            assert!(std::env::var(REQUIRED).is_err(), "{REQUIRED} is set, and there is no {compiler}: {why}");
            eprintln!("fast math was not tested: there is no {compiler}: {why}");
            false
        }
    }
}

fn evaluate(folder: &Path, probe: usize, x: &[f32], y: &[f32]) -> Vec<f32> {
    let mut input: Vec<u8> = [probe as u32, x.len() as u32].iter().flat_map(|word| word.to_le_bytes()).collect();
    input.extend(x.iter().chain(y).flat_map(|value| value.to_le_bytes()));
    std::fs::write(folder.join("input"), input).unwrap();
    let input = std::fs::File::open(folder.join("input")).unwrap();
    let output = Command::new(folder.join("probe")).stdin(input).output().unwrap();
    output.stdout.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

type Comparison = (&'static str, fn(f64, f64) -> bool);

const COMPARISONS: [Comparison; 8] = [
    ("fx_eq(x, y)", |x, y| x == y),
    ("fx_ne(x, y)", |x, y| x != y),
    ("fx_lt(x, y)", |x, y| x < y),
    ("fx_le(x, y)", |x, y| x <= y),
    ("fx_isnan(x)", |x, _| x.is_nan()),
    ("fx_isinf(x)", |x, _| x.is_infinite()),
    ("fx_isfinite(x)", |x, _| x.is_finite()),
    ("fx_relu(x) > 0.0", |x, _| x > 0.0),
];

#[test]
fn functions_survive_a_fast_math_compiler() {
    let mut source = library::FLAGS.to_owned() + &library::SOURCES.join("\n");
    let comparisons = COMPARISONS.iter().map(|(expression, _)| format!("select(0.0, 1.0, {expression})"));
    let expressions: Vec<String> =
        UNARY.iter().map(|row| row.0.to_owned()).chain(BINARY.iter().map(|row| row.0.to_owned())).chain(comparisons).collect();
    for (i, expression) in expressions.iter().enumerate() {
        source += &format!("fn probe{i}x(x: f32, y: f32) -> f32 {{ return {expression}; }}\n");
    }
    let folder = std::env::temp_dir().join(format!("fluxrs-fast-math-{}", std::process::id()));
    if !program(&source, expressions.len(), &folder) {
        return;
    }
    // Subnormal numbers are flushed, coming and going: only what tells them by their bits must know them.
    let whole = |x: &f32, expression: &str| !x.is_subnormal() || ["log", "cbrt", "pow"].iter().any(|f| expression.contains(f));
    let mut failures = Vec::new();
    let mut compare = |expression: &str, got: &[f32], want: &dyn Fn(usize) -> f64, at: &dyn Fn(usize) -> String, limit: f64| {
        let (error, text) = worst(expression, got, want, at);
        println!("{expression:32} {error:.2} ulp");
        if error > limit {
            failures.push(text);
        }
    };
    for (i, &(expression, want, low, high, limit)) in UNARY.iter().enumerate() {
        let x: Vec<f32> = spread(low, high, 20_000).into_iter().filter(|x| whole(x, expression)).collect();
        let got = evaluate(&folder, i, &x, &x);
        assert_eq!(got.len(), x.len(), "{expression}");
        compare(expression, &got, &|k| want(f64::from(x[k])), &|k| format!("{:e}", x[k]), limit.max(1.0) * 2.0);
    }
    let all: (Vec<f32>, Vec<f32>) = pairs(&specials(), 20_000, 30.0);
    let pairs = |expression: &str| -> (Vec<f32>, Vec<f32>) {
        let kept = |(x, y): &(f32, f32)| whole(x, expression) && whole(y, expression);
        all.0.iter().copied().zip(all.1.iter().copied()).filter(kept).unzip()
    };
    let wanted: Vec<Box<dyn Fn(f64, f64) -> f64>> = (BINARY.iter().map(|row| Box::new(row.1) as Box<dyn Fn(f64, f64) -> f64>))
        .chain(COMPARISONS.iter().map(|row| Box::new(|x, y| f64::from(u8::from(row.1(x, y)))) as _))
        .collect();
    for (k, want) in wanted.iter().enumerate() {
        let (i, limit) = (UNARY.len() + k, BINARY.get(k).map_or(0.0, |row| row.2.max(1.0) * 2.0));
        let (x, y) = pairs(&expressions[i]);
        let got = evaluate(&folder, i, &x, &y);
        assert_eq!(got.len(), x.len(), "{}", expressions[i]);
        let at = |k: usize| format!("({:e}, {:e})", x[k], y[k]);
        compare(&expressions[i], &got, &|k| want(f64::from(x[k]), f64::from(y[k])), &at, limit);
    }
    let _ = std::fs::remove_dir_all(&folder);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
