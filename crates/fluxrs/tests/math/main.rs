//! Accuracy of the CPU's scalar functions, for every instruction set of this machine.
//!
//! `cargo test --test math -- --nocapture` prints the greatest error of each function.

mod double;
mod loops;
mod single;
mod special;

/// Distance in units in the last place, as steps between representable numbers; 0 for two NaN.
fn steps(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() {
        return if x.is_nan() && y.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let order = |x: f64| {
        if x < 0.0 { -((x.to_bits() << 1 >> 1) as i64) } else { x.to_bits() as i64 }
    };
    (i128::from(order(x)) - i128::from(order(y))).unsigned_abs() as f64
}

/// A small generator of random bits, the same in every run.
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between 0 and 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
