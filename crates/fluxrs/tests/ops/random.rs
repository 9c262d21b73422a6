use crate::check::{float64, values};
use fluxrs::ops::random::{Replay, Stream, bernoulli, permutation, philox, rand, randint, randn, seed, set_state, state};
use fluxrs::{DType, Tensor};
use std::sync::{Mutex, MutexGuard};

/// The stream is one for the whole process: tests that use it take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

#[test]
fn philox_as_published() {
    assert_eq!(philox(0, 0), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
}

#[test]
fn a_seed_repeats_the_stream() {
    let _turn = alone();
    let draw = || {
        seed(42);
        let list = [
            rand(&[5], DType::F32),
            randn(&[3, 3], DType::F32),
            rand(&[3], DType::F64),
            randn(&[7], DType::F64),
            randint(-3, 9, &[11], DType::I64),
            permutation(13),
            bernoulli(&Tensor::number(0.3), &[4]),
        ];
        list.map(|t| values(&t.unwrap()))
    };
    let first = draw();
    assert_eq!(first, draw());
    assert_ne!(values(&rand(&[5], DType::F32).unwrap()), first[0]);
    // The first words of the stream, by hand.
    let words = philox(0, 42).map(|w| ((w >> 8) as f32 / (1 << 24) as f32) as f64);
    assert_eq!(first[0][..4], words);
    assert_eq!(first[0][4], ((philox(1, 42)[0] >> 8) as f32 / (1 << 24) as f32) as f64);
}

#[test]
fn every_element_has_its_own_words() {
    let _turn = alone();
    let start = Stream { seed: 0xfeed_beef_1234_5678, counter: u32::MAX as u64 - 40 };
    let n = 10_007;
    let block = |b: usize| philox(start.counter + b as u64, start.seed);
    set_state(start);
    let narrow = values(&rand(&[n], DType::F32).unwrap());
    set_state(start);
    let wide = values(&rand(&[n], DType::F64).unwrap());
    for i in 0..n {
        assert_eq!(narrow[i], (block(i / 4)[i % 4] >> 8) as f64 / (1 << 24) as f64, "{i}");
        let words = &block(i / 2)[i % 2 * 2..];
        let bits = words[0] as u64 | (words[1] as u64) << 32;
        assert_eq!(wide[i], (bits >> 11) as f64 / (1u64 << 53) as f64, "{i}");
    }
    set_state(start);
    let normal = values(&randn(&[n], DType::F64).unwrap());
    for i in (0..n - 1).step_by(2) {
        let [u, v] = [0, 2].map(|k| {
            let words = block(i / 2);
            ((words[k] as u64 | (words[k + 1] as u64) << 32) >> 11) as f64 / (1u64 << 53) as f64
        });
        let radius = (-2.0 * (u + 1.0 / (1u64 << 53) as f64).ln()).sqrt();
        let angle = std::f64::consts::TAU * v;
        assert!((normal[i] - radius * angle.cos()).abs() < 1e-13, "{i}");
        assert!((normal[i + 1] - radius * angle.sin()).abs() < 1e-13, "{i}");
    }
}

#[test]
fn evaluation_order_does_not_matter() {
    let _turn = alone();
    seed(1);
    let (a, b) = (rand(&[6], DType::F32).unwrap(), rand(&[6], DType::F32).unwrap());
    let (vb, va) = (values(&b), values(&a));
    assert_ne!(va, vb);
    seed(1);
    assert_eq!(values(&rand(&[6], DType::F32).unwrap()), va);
    assert_eq!(state(), Stream { seed: 1, counter: 2 });
}

#[test]
fn replay_draws_the_same_again() {
    let _turn = alone();
    seed(3);
    rand(&[100], DType::F32).unwrap();
    let before = state();
    let first = values(&randn(&[9], DType::F32).unwrap());
    let after = state();
    {
        let _replay = Replay::enter(before);
        assert_eq!(values(&randn(&[9], DType::F32).unwrap()), first);
        assert_eq!(state(), after);
    }
    assert_eq!(state(), after);
    set_state(before);
    assert_eq!(values(&randn(&[9], DType::F32).unwrap()), first);
}

#[test]
fn a_plan_that_draws_replays_with_fresh_numbers() {
    use fluxrs::evaluate::COUNTERS;
    use std::sync::atomic::Ordering;
    let _turn = alone();
    seed(9);
    let x = float64(&[1.0; 8], &[8]).cast(DType::F32);
    let step =
        || values(&(bernoulli(&Tensor::number(0.5), &[8]).unwrap().cast(DType::F32) * &x + rand(&[8], DType::F32).unwrap()));
    let mut seen = vec![step()];
    let before = COUNTERS.plans_made.load(Ordering::Relaxed);
    for _ in 0..200 {
        seen.push(step());
    }
    // Other tests make plans of their own at the same time, but not two hundred.
    assert!(COUNTERS.plans_made.load(Ordering::Relaxed) - before < 150);
    seen.sort_by(|a, b| a.partial_cmp(b).unwrap());
    seen.dedup();
    assert_eq!(seen.len(), 201);
}

#[test]
fn moments() {
    let _turn = alone();
    seed(7);
    for dtype in [DType::F32, DType::F64] {
        let u = values(&rand(&[50_001], dtype).unwrap());
        assert!(u.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        assert!((mean(&u) - 0.5).abs() < 0.01, "{}", mean(&u));
        let n = values(&randn(&[50_001], dtype).unwrap());
        let square: Vec<f64> = n.iter().map(|x| x * x).collect();
        let fourth: Vec<f64> = square.iter().map(|x| x * x).collect();
        assert!(mean(&n).abs() < 0.02 && (mean(&square) - 1.0).abs() < 0.03 && (mean(&fourth) - 3.0).abs() < 0.2);
        // Neighbours of a pair are not related.
        let pairs: Vec<f64> = n.windows(2).map(|w| w[0] * w[1]).collect();
        assert!(mean(&pairs).abs() < 0.02);
    }
    let p = float64(&[0.0, 0.25, 1.0], &[3, 1]);
    let b = values(&bernoulli(&p, &[3, 10_000]).unwrap());
    let count = |row: usize| b[row * 10_000..(row + 1) * 10_000].iter().sum::<f64>();
    assert_eq!(count(0), 0.0);
    assert!((count(1) - 2500.0).abs() < 200.0);
    assert_eq!(count(2), 10_000.0);
}

#[test]
fn integers() {
    let _turn = alone();
    seed(5);
    let n = values(&randint(-2, 3, &[10_000], DType::I32).unwrap());
    for v in -2..3 {
        let count = n.iter().filter(|&&x| x == v as f64).count();
        assert!((1800..2200).contains(&count), "{v}: {count}");
    }
    let wide = values(&randint(i64::MIN, i64::MAX, &[1000], DType::I64).unwrap());
    assert!(wide.iter().any(|&x| x < -4e18) && wide.iter().any(|&x| x > 4e18));
    assert_eq!(values(&randint(4, 5, &[3], DType::I64).unwrap()), [4.0; 3]);
    assert!(randint(5, 5, &[1], DType::I64).unwrap_err().to_string().contains("5 <= n < 5"));
    assert!(randint(0, 1 << 40, &[1], DType::I32).unwrap_err().to_string().contains("int64"));
    assert!(rand(&[1], DType::I32).unwrap_err().to_string().contains("randint"));
}

#[test]
fn permutations() {
    let _turn = alone();
    seed(11);
    let p = values(&permutation(1000).unwrap());
    let mut sorted = p.clone();
    sorted.sort_by(f64::total_cmp);
    assert_eq!(sorted, (0..1000).map(f64::from).collect::<Vec<_>>());
    assert_ne!(p, sorted);
    assert_ne!(values(&permutation(1000).unwrap()), p);
    assert_eq!(values(&permutation(0).unwrap()), [0.0; 0]);
    assert_eq!(rand(&[0, 3], DType::F32).unwrap().shape(), [0, 3]);
    assert_eq!(values(&rand(&[], DType::F32).unwrap()).len(), 1);
}
