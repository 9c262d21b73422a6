use crate::check::{check_gradients, close, float64, numbers, values};
use fluxrs::ops::activations::{gelu, gelu_erf, glu, logsigmoid, selu};
use fluxrs::{Elementwise, Result, Tensor};

type Activation = fn(&Tensor) -> Result<Tensor>;
type Row<'a> = (&'a str, Activation, &'a dyn Fn(f64) -> f64);

#[test]
fn values_and_gradients() {
    let tanh_form = |x: f64| x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    let scaled = |x: f64| 1.0507009873554805 * if x > 0.0 { x } else { 1.6732632423543772 * x.exp_m1() };
    let erf_form =
        |x: f64| x / 2.0 * values(&Elementwise::erfc.apply(&[&float64(&[-x / std::f64::consts::SQRT_2], &[1])]).unwrap())[0];
    let table: [Row<'_>; 4] = [
        ("gelu", gelu, &tanh_form),
        ("gelu_erf", gelu_erf, &erf_form),
        ("selu", selu, &scaled),
        ("logsigmoid", logsigmoid, &|x: f64| -(-x).exp().ln_1p()),
    ];
    for (name, f, formula) in table {
        let x = numbers(12, (-4.0, 4.0), 3);
        let want: Vec<f64> = x.iter().map(|&x| formula(x)).collect();
        close(name, &values(&f(&float64(&x, &[3, 4])).unwrap()), &want, 1e-12);
        check_gradients(name, &[(&x, &[3, 4])], &|x| f(&x[0]).unwrap());
    }
    close("far out", &values(&logsigmoid(&float64(&[-800.0, 800.0], &[2])).unwrap()), &[-800.0, 0.0], 0.0);
}

#[test]
fn gated() {
    let x = numbers(12, (-4.0, 4.0), 3);
    let want = |a: usize, b: usize| x[a] / (1.0 + (-x[b]).exp());
    let columns: Vec<f64> = (0..3).flat_map(|i| [want(4 * i, 4 * i + 2), want(4 * i + 1, 4 * i + 3)]).collect();
    close("columns", &values(&glu(&float64(&x, &[3, 4]), -1).unwrap()), &columns, 1e-12);
    let rows: Vec<f64> = (0..6).map(|i| want(i, i + 6)).collect();
    close("rows", &values(&glu(&float64(&x, &[2, 6]), 0).unwrap()), &rows, 1e-12);
    check_gradients("glu", &[(&x, &[3, 4])], &|x| glu(&x[0], 1).unwrap());
    let odd = glu(&float64(&x, &[4, 3]), 1).unwrap_err().to_string();
    assert_eq!(odd, "glu: axis 1 has length 3; it is divided in halves, so an even one is needed");
}
