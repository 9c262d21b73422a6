//! `f64` against values computed to forty digits, rounded: a line has a name, the operands and the result, as bits.

use super::loops::{NAMES, apply};
use super::steps;
use fluxrs::simd::isa::levels;

#[test]
fn double_precision() {
    let table = match std::env::var("FLUXRS_MATH_TABLE") {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => include_str!("double.txt").to_owned(),
    };
    let lines: Vec<(&str, Vec<f64>)> = table
        .lines()
        .map(|line| {
            let (name, numbers) = line.split_once(' ').unwrap();
            let bits = |b| f64::from_bits(u64::from_str_radix(b, 16).unwrap());
            (name, numbers.split(' ').map(bits).collect())
        })
        .collect();
    let mut failures = 0;
    for level in levels() {
        for &(name, operands) in NAMES {
            let rows: Vec<&Vec<f64>> = lines.iter().filter(|(of, _)| *of == name).map(|(_, row)| row).collect();
            let column = |k: usize| rows.iter().map(|row| row[k]).collect::<Vec<f64>>();
            let y = if operands == 2 { column(1) } else { Vec::new() };
            let got = apply(name, level, &column(0), &y);
            let worst = (0..rows.len())
                .map(|i| (steps(got[i], rows[i][operands]), i))
                .fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a });
            if rows.is_empty() {
                continue;
            }
            println!("{level:?} f64 {name}: {} ulp at {:?}, got {:e}", worst.0, rows[worst.1], got[worst.1]);
            failures += usize::from(worst.0 > 4.0);
        }
    }
    assert_eq!(failures, 0, "functions beyond 4 ulp, see above");
}
