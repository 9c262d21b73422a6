use crate::check::{check_gradients, close, float64, int64, numbers, values};
use fluxrs::ops::power::power;
use fluxrs::{DType, Number, Tensor};

#[test]
fn whole_powers_are_products() {
    let x = float64(&[-2.0, 0.5, 3.0], &[3]);
    for n in -17i64..=17 {
        let want: Vec<f64> = [-2.0f64, 0.5, 3.0].iter().map(|x| x.powi(n as i32)).collect();
        for exponent in [Number::Int(n), Number::Float(n as f64)] {
            close("power", &values(&power(&x, &Tensor::number(exponent)).unwrap()), &want, 1e-14);
        }
    }
}

#[test]
fn types() {
    let int = int64(&[3, -2], &[2]);
    let of = |x: &Tensor, n: Number| power(x, &Tensor::number(n));
    let table = [
        (of(&int, Number::Int(3)), DType::I64, [27.0, -8.0]),
        (of(&int, Number::Float(2.0)), DType::F32, [9.0, 4.0]),
        (of(&int.cast(DType::Bool), Number::Int(2)), DType::I64, [1.0, 1.0]),
        (of(&int, Number::Int(0)), DType::I64, [1.0, 1.0]),
    ];
    for (y, dtype, want) in table {
        let y = y.unwrap();
        assert_eq!((y.dtype(), values(&y)), (dtype, want.to_vec()));
    }
    assert!(of(&int, Number::Int(-1)).is_err());
    assert!(of(&int, Number::Int(i64::MIN)).is_err());
}

#[test]
fn gradients() {
    let x = numbers(4, (0.3, 2.0), 5);
    for n in [-3.0, 0.0, 0.5, 1.0, 2.0, 7.0, 2.5] {
        check_gradients(&format!("power {n}"), &[(&x, &[4])], &|x| power(&x[0], &Tensor::number(n)).unwrap());
    }
}
