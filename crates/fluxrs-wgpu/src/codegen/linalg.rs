//! Systems of equations, inverses and determinants: one workgroup eliminates one matrix.

use super::args::Args;
use super::builder::{Launch, Target};
use super::structured::Op;
use crate::fault::Result;
use crate::pipeline::Access;
use crate::template;
use fluxrs::shape::size;

/// Multiplications of one workgroup at most: a tenth of a second on a slow GPU, far from any watchdog.
const WORK: usize = 1 << 26;

impl Op<'_, '_> {
    pub(super) fn lu(&mut self) -> Result<Vec<Launch>> {
        let a = &self.call.srcs[0].shape;
        let n = a[a.len() - 1];
        let matrices = a[..a.len() - 2].iter().product::<usize>();
        let (what, k) = match self.call.op.name() {
            "inv" => (1, n),
            "det" => (2, 0),
            _ => (0, self.call.shape[self.call.shape.len() - 1]),
        };
        if n * n * (n + k) > WORK {
            return self.unsupported(&format!(" of matrices of order {n} with {k} columns"));
        }
        let right = if what == 0 { 1 } else { 0 };
        let groups = self.grid(matrices, 1);
        let mut args = Args::default();
        for word in [matrices, n, k, groups[0] as usize, self.offset(0), self.offset(right), what, self.number()] {
            args.size(word);
        }
        let work = Target::Temp((self.targets.temporary)(size(a) + matrices * n * k));
        let bindings = vec![
            (self.operand(0)?, Access::Read),
            (self.operand(right)?, Access::Read),
            self.out(),
            (Target::Status, Access::Write),
            (work, Access::Write),
        ];
        Ok(vec![self.launch(template::LU, bindings, args, groups)])
    }
}
