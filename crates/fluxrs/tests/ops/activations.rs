use crate::check::{check_gradients, close, float64, numbers, values};
use fluxrs::ops::activations::{gelu, logsigmoid, selu};
use fluxrs::{Result, Tensor};

type Activation = fn(&Tensor) -> Result<Tensor>;
type Row<'a> = (&'a str, Activation, &'a dyn Fn(f64) -> f64);

#[test]
fn values_and_gradients() {
    let tanh_form = |x: f64| x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    let scaled = |x: f64| 1.0507009873554805 * if x > 0.0 { x } else { 1.6732632423543772 * x.exp_m1() };
    let table: [Row<'_>; 3] =
        [("gelu", gelu, &tanh_form), ("selu", selu, &scaled), ("logsigmoid", logsigmoid, &|x: f64| -(-x).exp().ln_1p())];
    for (name, f, formula) in table {
        let x = numbers(12, (-4.0, 4.0), 3);
        let want: Vec<f64> = x.iter().map(|&x| formula(x)).collect();
        close(name, &values(&f(&float64(&x, &[3, 4])).unwrap()), &want, 1e-12);
        check_gradients(name, &[(&x, &[3, 4])], &|x| f(&x[0]).unwrap());
    }
    close("far out", &values(&logsigmoid(&float64(&[-800.0, 800.0], &[2])).unwrap()), &[-800.0, 0.0], 0.0);
}
