//! Elementwise kernels: one thread an element, every load before every store.

use super::builder::{Builder, Items, Launch, Target};
use super::index::Segment;
use super::ops::any_overflows;
use super::program::{Program, name, place};
use super::spill::{self, Targets};
use crate::fault::Result;
use crate::limits::Limits;
use fluxrs::plan::{Buf, Load, Loop, Source, Store};
use rustc_hash::FxHashSet;

/// Buffers that one kernel binds where that can be chosen; a group of stores that hangs together may take more.
const BINDINGS: usize = 8;

const THREADS: usize = 256;

/// The statements for one element at the linear index `i`: loads, instructions, stores. `value` is a buffer whose element
/// is at hand in the variable of that name.
pub(crate) fn element(program: &Program, stores: &[&Store], builder: &mut Builder, value: Option<(Buf, &str)>) -> Result<String> {
    let mut segment = Segment::new("i", &program.body.dims);
    let cone = program.cone(stores.iter().map(|store| store.reg));
    let known = |load: &Load| match (value, load.source) {
        (Some((buffer, name)), Source::Buffer(b)) if b == buffer => Some(name.to_owned()),
        _ => None,
    };
    let mut text = {
        let segment = &mut segment;
        program.full(&cone, builder, &mut |map, builder| place(map, &mut [&mut *segment], builder), &known)?
    };
    for store in stores {
        let position = place(&store.map, &mut [&mut segment], builder);
        text += &builder.write(store.buffer, store.dtype, &position, &name(store.reg))?;
    }
    Ok(segment.coordinates(&mut builder.args) + &text)
}

/// Which targets a set of stores reads and writes.
fn touched(program: &Program, stores: &[&Store], targets: &[Target]) -> (FxHashSet<Target>, FxHashSet<Target>) {
    let part = spill::part(program.body, stores);
    (spill::read(&part.loads, targets), stores.iter().map(|store| targets[store.buffer as usize]).collect())
}

/// Stores in groups such that none reads what another writes: each group may be a dispatch of its own.
fn components<'a>(program: &Program<'a>, targets: &[Target]) -> Vec<Vec<&'a Store>> {
    let mut groups: Vec<(Vec<&Store>, FxHashSet<Target>, FxHashSet<Target>)> = Vec::new();
    for store in &program.body.stores {
        let (mut read, mut written) = touched(program, &[store], targets);
        let mut stores = vec![store];
        let mut apart = Vec::new();
        for group in groups.drain(..) {
            if group.1.is_disjoint(&written) && group.2.is_disjoint(&read) && group.2.is_disjoint(&written) {
                apart.push(group);
            } else {
                stores.splice(0..0, group.0);
                read.extend(group.1);
                written.extend(group.2);
            }
        }
        apart.push((stores, read, written));
        groups = apart;
    }
    groups.into_iter().map(|group| group.0).collect()
}

/// Packs the components into dispatches of few bindings. One component may need more than a kernel can have.
pub(crate) fn dispatches<'a>(program: &Program<'a>, targets: &[Target], limit: usize) -> Vec<Vec<&'a Store>> {
    let count = |stores: &[&Store]| {
        let (read, written) = touched(program, stores, targets);
        read.union(&written).count()
    };
    let all: Vec<&Store> = program.body.stores.iter().collect();
    if count(&all) <= BINDINGS.min(limit) {
        return vec![all];
    }
    let mut packed: Vec<Vec<&Store>> = Vec::new();
    for component in components(program, targets) {
        match packed.last_mut() {
            Some(last) if count(&[last.as_slice(), &component].concat()) <= BINDINGS.min(limit) => last.extend(component),
            _ => packed.push(component),
        }
    }
    packed
}

/// One kernel over all elements.
pub(super) fn launch(body: &Loop, targets: &[Target], guarded: bool, cost: usize, limits: &Limits) -> Result<Vec<Launch>> {
    let items = Items { count: body.dims.iter().product(), each: THREADS };
    let program = Program::new(body)?;
    let stores: Vec<&Store> = body.stores.iter().collect();
    let mut builder = Builder::new(targets, guarded, 0);
    items.declare(&mut builder.args);
    let element = element(&program, &stores, &mut builder, None)?;
    let live = if guarded { format!("    if (!({})) {{ return; }}\n", Builder::LIVE) } else { String::new() };
    let text = format!(
        "@compute @workgroup_size({THREADS})\n\
         fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {{\n\
         let i = {} * {THREADS}u + local;\n\
         if (i >= args.end) {{ return; }}\n{live}{element}}}\n",
        Items::GROUP
    );
    Ok(items.dispatches(builder.finish(&text, [1, 1, 1], cost), limits))
}

pub(crate) fn launches(body: &Loop, targets: &mut Targets, guarded: bool, cost: usize, limits: &Limits) -> Result<Vec<Launch>> {
    if body.dims.contains(&0) {
        return Ok(Vec::new());
    }
    let room = limits.storage - usize::from(guarded || any_overflows(body));
    // Whatever a later dispatch overwrites in place is read by the parts that were cut off before any of them runs.
    let (first, then) = spill::pieces(body, dispatches(&Program::new(body)?, &targets.all, room), targets, room)?;
    let mut all = Vec::new();
    for part in &first {
        all.extend(launch(part, &targets.all, false, cost, limits)?);
    }
    for rest in &then {
        all.extend(launch(rest, &targets.all, guarded, cost, limits)?);
    }
    Ok(all)
}
