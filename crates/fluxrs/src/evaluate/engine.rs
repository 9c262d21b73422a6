//! The evaluation that the graph, its tape and its leaves call.

use super::run::run;
use super::turn::{bystander, wait};
use super::{evaluate_pending, read};
use crate::buffer::{Buffer, HostBuffer};
use crate::debug::watch;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{self, Engine, Tensor, no_grad};
use crate::leaf::{self, Committer, Queue};
use crate::transfer;
use std::sync::Arc;

pub(crate) struct Evaluator;

impl Engine for Evaluator {
    #[cold]
    fn at_bound(&self) {
        // Whatever scope the node that is one too many is made in: a signal's handler may run here.
        let _scope = graph::Tracking::enter();
        // An evaluation that fails here fails again, with its message, where the value is read; an earlier step's failure does not.
        let mut evaluate = || {
            if let Err(late @ Error::BadLoss(_)) = evaluate_pending() {
                leaf::fail(late);
            }
        };
        stand_by(&mut evaluate);
    }

    fn own_copy(&self, x: &Tensor) -> Result<Buffer> {
        Ok(read(&no_grad(|| x.copied()))?.0)
    }

    fn to_host(&self, x: &Tensor) -> Result<Arc<HostBuffer>> {
        transfer::to_host(x)
    }

    fn to_device(&self, x: &Tensor, device: Device) -> Result<Tensor> {
        transfer::to_device(x, device)
    }

    fn is_eager(&self) -> bool {
        watch::is_on()
    }

    fn looks_for_nan(&self) -> bool {
        watch::looks_for_nan()
    }

    fn inspect_gradient(&self, of: &Tensor, g: &Tensor, given: bool) -> Result<()> {
        let mut result = Ok(());
        stand_by(&mut || result = watch::inspect_gradient(of, g, given));
        result
    }
}

fn stand_by(f: &mut (dyn FnMut() + Send)) {
    match bystander() {
        Some(run) => run(f),
        None => f(),
    }
}

impl Committer for Evaluator {
    fn commit(&self, queue: &Queue) -> Result<()> {
        run(&[], Some(queue))
    }

    fn wait(&self) -> Result<()> {
        wait()
    }

    fn stand_by(&self) -> Result<()> {
        let mut result = Ok(());
        stand_by(&mut || result = wait());
        result
    }
}
