//! The constants of each float type: its bits, the polynomials fitted for its precision, and arithmetic to twice that.

use super::num::Num;
use crate::simd::isa::Isa;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// `f32` or `f64`, as the functions of this folder see it.
pub trait Float:
    Num + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// The type of a polynomial's coefficients.
    type Coefficient: Copy + 'static;

    const INFINITY: Self;
    const NAN: Self;
    const MAX: Self;
    /// 1.5·2^(bits of the mantissa): adding it rounds to an integer and leaves that integer in the lowest bits.
    const MAGIC: Self;
    /// Below this, x + O(x²) rounds to x.
    const TINY: Self;
    /// Above this, x² + 1 rounds to x².
    const BIG: Self;
    /// ln 2 in two parts; n times the first is exact for every exponent n.
    const LN2: [Self; 2];
    /// log₁₀ 2 in the same way.
    const LOG10_2: [Self; 2];
    /// π, π/2 and π/4, each with what rounding left.
    const PI: [Self; 2];
    const PI_2: [Self; 2];
    const PI_4: [Self; 2];
    /// Results of exp outside these bounds overflow, or are less than half the least subnormal.
    const EXP: [Self; 2];
    /// The same for exp2.
    const EXP2: [Self; 2];
    /// sinh and cosh overflow beyond this.
    const SINH: Self;
    /// tanh rounds to 1 beyond this.
    const TANH: Self;

    /// Q in e^r = 1 + r + r²·Q(r) for |r| ≤ ln 2 / 2.
    const EXP_Q: &'static [Self::Coefficient];
    /// P in asin x = x + x³·P(x²) for |x| ≤ 1/2.
    const ASIN_P: &'static [Self::Coefficient];
    /// P in atan x = x + x³·P(x²) for |x| ≤ tan π/8.
    const ATAN_P: &'static [Self::Coefficient];
    /// P in log((1 + s)/(1 − s)) = 2s + s³·P(s²) for 0 ≤ s ≤ 1/3.
    const LOG_P: &'static [Self::Coefficient];

    fn coefficient(c: Self::Coefficient) -> Self;
    /// x·y + z, rounded once where that is one instruction.
    fn fma<I: Isa>(self, y: Self, z: Self) -> Self;
    fn root(self) -> Self;
    /// This magnitude with the sign of `of`.
    fn signed(self, of: Self) -> Self;
    /// Rounded to an integer, halves to the even one.
    fn rint<I: Isa>(self) -> Self;
    /// Rounded down.
    fn down<I: Isa>(self) -> Self;
    /// 2^n for k = `MAGIC` + n, while n is an exponent of normal numbers.
    fn power_of_two(k: Self) -> Self;
    /// Two factors of 2^n for k = `MAGIC` + n, for any n in twice the range of the exponents.
    fn powers_of_two(k: Self) -> [Self; 2];
    /// x = m·2^e with m between √½ and √2, for x positive and finite, subnormals included.
    fn mantissa_exponent(self) -> (Self, Self);
    /// p with log(1 + f) = f + p, for 1 + f between √½ and √2.
    fn log_tail<I: Isa>(f: Self) -> Self;
    /// Both parts of the exact product.
    fn exact_product<I: Isa>(self, y: Self) -> (Self, Self);

    /// c\[0\] + c\[1\]·x + c\[2\]·x² + …: even and odd powers apart, so that neither waits for the other.
    #[inline(always)]
    fn polynomial<I: Isa>(self, c: &'static [Self::Coefficient]) -> Self {
        let at = |k: usize| Self::coefficient(c[k]);
        let square = self * self;
        let top = c.len() - 1;
        let (mut high, mut low) = (at(top), at(top - 1));
        let mut k = top - 1;
        while k > 1 {
            k -= 2;
            (high, low) = (high.fma::<I>(square, at(k + 1)), low.fma::<I>(square, at(k)));
        }
        let sum = high.fma::<I>(self, low);
        if k == 1 { sum.fma::<I>(self, at(0)) } else { sum }
    }

    /// Both parts of the exact sum, |self| ≥ |y|.
    #[inline(always)]
    fn exact_sum_ordered(self, y: Self) -> (Self, Self) {
        let sum = self + y;
        (sum, y - (sum - self))
    }

    /// Both parts of the exact sum.
    #[inline(always)]
    fn exact_sum(self, y: Self) -> (Self, Self) {
        let sum = self + y;
        let part = sum - self;
        (sum, (self - (sum - part)) + (y - part))
    }

    /// Between the two bounds; NaN stays NaN.
    #[inline(always)]
    fn clamped(self, [low, high]: [Self; 2]) -> Self {
        let x = Self::choose(high.less(self), high, self);
        Self::choose(x.less(low), low, x)
    }
}

macro_rules! float {
    ($t:ident, $bits:ty, mantissa: $mantissa:literal, bias: $bias:literal, { $($item:item)* }) => {
        impl Float for $t {
            type Coefficient = $t;

            const INFINITY: $t = $t::INFINITY;
            const NAN: $t = $t::NAN;
            const MAX: $t = $t::MAX;
            const MAGIC: $t = ((3 as $bits) << ($mantissa - 1)) as $t;

            #[inline(always)]
            fn coefficient(c: $t) -> $t {
                c
            }

            #[inline(always)]
            fn fma<I: Isa>(self, y: $t, z: $t) -> $t {
                if I::FMA { self.mul_add(y, z) } else { self * y + z }
            }

            #[inline(always)]
            fn root(self) -> $t {
                self.sqrt()
            }

            #[inline(always)]
            fn signed(self, of: $t) -> $t {
                self.copysign(of)
            }

            // Without FMA the processor may lack a rounding instruction too.
            #[inline(always)]
            fn rint<I: Isa>(self) -> $t {
                if I::FMA {
                    self.round_ties_even()
                } else {
                    let whole = ((1 as $bits) << $mantissa) as $t;
                    let rounded = (self.abs() + whole) - whole;
                    let rounded = if self.abs() < whole { rounded } else { self.abs() };
                    rounded.copysign(self)
                }
            }

            #[inline(always)]
            fn down<I: Isa>(self) -> $t {
                if I::FMA {
                    self.floor()
                } else {
                    let near = self.rint::<I>();
                    (if near > self { near - 1.0 } else { near }).copysign(self)
                }
            }

            #[inline(always)]
            fn power_of_two(k: $t) -> $t {
                $t::from_bits((k.to_bits() << $mantissa).wrapping_add($bias << $mantissa))
            }

            #[inline(always)]
            fn powers_of_two(k: $t) -> [$t; 2] {
                let n = k.to_bits().wrapping_sub(Self::MAGIC.to_bits()).wrapping_add(4 * $bias);
                let half = n >> 1;
                let exponent = |n: $bits| $t::from_bits(n.wrapping_sub($bias) << $mantissa);
                [exponent(half), exponent(n.wrapping_sub(half))]
            }

            #[inline(always)]
            fn mantissa_exponent(self) -> ($t, $t) {
                const SQRT_HALF: $bits = $t::to_bits(std::$t::consts::FRAC_1_SQRT_2);
                let up = ((1 as $bits) << $mantissa) as $t;
                let subnormal = self < $t::MIN_POSITIVE;
                let bits = (if subnormal { self * up } else { self }).to_bits();
                let e = bits.wrapping_sub(SQRT_HALF).wrapping_add($bias << $mantissa) >> $mantissa;
                let m = $t::from_bits(bits.wrapping_sub(e << $mantissa).wrapping_add($bias << $mantissa));
                let shift = Self::MAGIC + $bias as $t + if subnormal { $mantissa as $t } else { 0.0 };
                (m, $t::from_bits(Self::MAGIC.to_bits().wrapping_add(e)) - shift)
            }

            #[inline(always)]
            fn exact_product<I: Isa>(self, y: $t) -> ($t, $t) {
                let product = self * y;
                if I::FMA {
                    return (product, self.mul_add(y, -product));
                }
                // Dekker: halves of the mantissas multiply exactly, the upper one being rounded to save a bit below.
                let cut: $bits = (1 << ($mantissa / 2)) * 2;
                let head = |x: $t| $t::from_bits((x.to_bits() + cut / 2) & !(cut - 1));
                let (a, b) = (head(self), head(y));
                let (c, d) = (self - a, y - b);
                (product, ((a * b - product) + a * d + c * b) + c * d)
            }

            $($item)*
        }
    };
}

float!(f32, u32, mantissa: 23, bias: 127, {
    const TINY: f32 = 1e-4;
    const BIG: f32 = 67108864.0;
    const LN2: [f32; 2] = [0.693145751953125, 1.428606765330187e-6];
    const LOG10_2: [f32; 2] = [0.301025390625, 4.605039066518657e-6];
    const PI: [f32; 2] = [std::f32::consts::PI, -8.742277657347586e-8];
    const PI_2: [f32; 2] = [std::f32::consts::FRAC_PI_2, -4.371138828673793e-8];
    const PI_4: [f32; 2] = [std::f32::consts::FRAC_PI_4, -2.1855694143368964e-8];
    const EXP: [f32; 2] = [-104.0, 89.0];
    const EXP2: [f32; 2] = [-151.0, 129.0];
    const SINH: f32 = 89.5;
    const TANH: f32 = 9.1;
    const EXP_Q: &'static [f32] = &[0.49999997, 0.16666543, 0.041667204, 0.0083665205, 0.0013882396];
    const ASIN_P: &'static [f32] = &[0.1666666, 0.07500504, 0.04451702, 0.031807233, 0.014440165, 0.03751462];
    const LOG_P: &'static [f32] = &[0.66666675, 0.3999889, 0.28616598, 0.21430683, 0.24289966];
    const ATAN_P: &'static [f32] = &[-0.33333316, 0.19998471, -0.14243524, 0.105937056, -0.060778737];

    #[inline(always)]
    fn log_tail<I: Isa>(f: f32) -> f32 {
        const P: &[f32] = &[
            0.33333313, -0.2500001, 0.20002118, -0.16667996, 0.14219554, -0.12405582, 0.11888174, -0.11675745, 0.06746715,
        ];
        let square = f * f;
        (square * f).fma::<I>(f.polynomial::<I>(P), -0.5 * square)
    }
});

float!(f64, u64, mantissa: 52, bias: 1023, {
    const TINY: f64 = 1e-9;
    const BIG: f64 = 18014398509481984.0;
    const LN2: [f64; 2] = [0.6931471805592082, 7.371002565167799e-13];
    const LOG10_2: [f64; 2] = [0.30102999566361177, 3.694239077158931e-13];
    const PI: [f64; 2] = [std::f64::consts::PI, 1.2246467991473532e-16];
    const PI_2: [f64; 2] = [std::f64::consts::FRAC_PI_2, 6.123233995736766e-17];
    const PI_4: [f64; 2] = [std::f64::consts::FRAC_PI_4, 3.061616997868383e-17];
    const EXP: [f64; 2] = [-746.0, 710.0];
    const EXP2: [f64; 2] = [-1076.0, 1025.0];
    const SINH: f64 = 710.6;
    const TANH: f64 = 19.1;
    const EXP_Q: &'static [f64] = &[
        0.5, 0.16666666666666677, 0.04166666666666651, 0.008333333333321691, 0.0013888888888962383, 0.00019841269885965742,
        2.480158717251634e-05, 2.755724437435624e-06, 2.755740266028345e-07, 2.510897883028174e-08, 2.087532495879143e-09,
    ];
    const ASIN_P: &'static [f64] = &[
        0.1666666666666676, 0.07499999999970844, 0.044642857174575966, 0.030381942709189362, 0.022372214956353536,
        0.017351612445005698, 0.0139808167118436, 0.011398934353296317, 0.010780172882495975, 0.003706567695669187,
        0.021707360980679165, -0.02099931229788827, 0.0326289849651189,
    ];
    const LOG_P: &'static [f64] = &[
        0.6666666666666667, 0.3999999999999407, 0.2857142857249629, 0.2222222212648321, 0.18181823159992225, 0.15384453058415026,
        0.13336786925979388, 0.11716153670726304, 0.10971215157447847, 0.06999325384768192, 0.1645940444213622,
    ];
    const ATAN_P: &'static [f64] = &[
        -0.333333333333332, 0.1999999999995325, -0.14285714280165956, 0.11111110782083822, -0.09090897722065207,
        0.07692059641174258, -0.06663098122040086, 0.05847849895841222, -0.05039141664510855, 0.038060743337967204,
        -0.017903346261666224,
    ];

    #[inline(always)]
    fn log_tail<I: Isa>(f: f64) -> f64 {
        // log(1 + f) = 2s + s·z·P(z) with s = f/(2 + f), z = s²; and 2s = f − s·f = f − f²/2 + s·f²/2.
        const P: &[f64] = &[
            0.6666666666666734, 0.39999999999415187, 0.28571428742285815, 0.22222198581963953, 0.18183563969974803,
            0.15314057025356773, 0.1479591060895038,
        ];
        let s = f / (2.0 + f);
        let z = s * s;
        let half = 0.5 * f * f;
        s * (half + z * z.polynomial::<I>(P)) - half
    }
});
