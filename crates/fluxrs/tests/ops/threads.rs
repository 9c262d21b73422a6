use crate::check::{float32, float64, numbers, values};
use fluxrs::ops::linalg::solve;
use fluxrs::ops::random::{Replay, Stream, rand, randn};
use fluxrs::{DType, Tensor};

fn bits(t: &Tensor) -> Vec<u64> {
    values(t).into_iter().map(f64::to_bits).collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let x = numbers(120_000, (-2.0, 2.0), 1);
    let all = || {
        let _stream = Replay::enter(Stream { seed: 5, counter: 0 });
        let narrow: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        let wide = float32(&narrow, &[300, 400]);
        let mut a = x[..90_000].to_vec();
        (0..300).for_each(|i| a[i * 301] += 20.0);
        [
            wide.cumsum(Some(1)).unwrap(),
            wide.cumsum(None).unwrap(),
            wide.sort(Some(1)).unwrap(),
            wide.argsort(None).unwrap(),
            wide.argmax(Some(1), false).unwrap(),
            rand(&[50_001], DType::F32).unwrap(),
            randn(&[50_001], DType::F32).unwrap(),
            randn(&[50_001], DType::F64).unwrap(),
            solve(&float64(&a, &[300, 300]), &float64(&x[..900], &[300, 3])).unwrap(),
            solve(&float64(&a[..40_000], &[100, 20, 20]), &float64(&x[..20], &[20, 1])).unwrap(),
        ]
        .map(|t| bits(&t))
    };
    let with = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    let one = with(1);
    assert_eq!(one, with(3));
    assert_eq!(one, all());
}
