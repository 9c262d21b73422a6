//! Loops that fold: rows by a workgroup or by a thread each, several passes where a fold's result goes back into the row.
//! Few long rows are cut into chunks, whose partial results a second kernel folds.

use super::builder::{Builder, Items, Launch, Target, decode, encode, scalar};
use super::index::Segment;
use super::map;
use super::ops::{any_overflows, combine, identity};
use super::program::{Program, name, place};
use super::spill::{self, Targets};
use crate::fault::Result;
use crate::limits::Limits;
use crate::pipeline::Access;
use fluxrs::plan::{Code, Inst, Loop, Mode, Rank, Store};

/// The threads that walk a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// One thread; workgroups of 64 rows.
    Thread,
    /// A workgroup of this many threads.
    Group(usize),
}

/// Which part of the work a kernel does.
#[derive(Clone, Copy)]
enum Stage {
    Whole,
    /// One chunk of a row, its folds to a temporary.
    Partial {
        temp: u32,
        chunks: usize,
    },
    /// The chunks' folds, and what is made of the results.
    Finish {
        temp: u32,
        chunks: usize,
    },
}

/// Rows in a workgroup where a thread walks a row.
const ROWS: usize = 64;
/// At least this much of a row goes to one chunk, per thread that walks it.
const CHUNK: usize = 64;
/// Threads that keep a device busy.
const BUSY: usize = 1 << 14;

struct ReductionKernel<'a, 'b> {
    program: &'b Program<'a>,
    builder: Builder<'b>,
    row: Segment,
    at: Segment,
    walk: Walk,
    stage: Stage,
}

fn fold_of(inst: &Inst) -> fluxrs::ops::reduce::Reduction {
    match inst.code {
        Code::Fold(kind) => kind,
        _ => unreachable!("only folds are asked for"),
    }
}

impl ReductionKernel<'_, '_> {
    fn position(&mut self, map: &fluxrs::shape::Map, columns: bool) -> String {
        let (row, at) = (&mut self.row, &mut self.at);
        if columns { place(map, &mut [at, row], &mut self.builder) } else { place(map, &mut [row, at], &mut self.builder) }
    }

    /// Row loads and instructions that are known after `level` rounds of folds.
    fn row_level(&mut self, level: usize) -> Result<String> {
        let columns = self.program.body.mode == Mode::Columns;
        let mut text = String::new();
        if level == 0 {
            for load in self.program.body.loads.iter().filter(|load| load.rank == Rank::Row) {
                let position = self.position(&load.map, columns);
                let value = self.builder.read(&load.source, load.dtype, &position)?;
                text += &format!("let {} = {value};\n", name(load.reg));
            }
        }
        for inst in &self.program.body.code {
            let fold = matches!(inst.code, Code::Fold(_));
            if inst.rank == Rank::Row && !fold && self.program.level(inst.dst) == level {
                text += &self.program.statement(inst)?;
            }
        }
        Ok(text)
    }

    fn stores(&mut self, stores: &[&Store]) -> Result<String> {
        let columns = self.program.body.mode == Mode::Columns;
        let mut text = String::new();
        for store in stores {
            let position = self.position(&store.map, columns);
            text += &self.builder.write(store.buffer, store.dtype, &position, &name(store.reg))?;
        }
        if self.builder.guarded && !text.is_empty() {
            text = format!("if (live) {{\n{text}}}\n");
        }
        Ok(text)
    }

    /// One walk along the row: the folds whose operands are known after `level` rounds, and these stores.
    fn pass(&mut self, level: usize, stores: &[&Store]) -> Result<String> {
        let columns = self.program.body.mode == Mode::Columns;
        let folds: Vec<&Inst> = self.program.folds().filter(|fold| self.program.level(fold.src[0]) == level).collect();
        if folds.is_empty() && stores.is_empty() {
            return Ok(String::new());
        }
        let cone = self.program.cone(folds.iter().map(|fold| fold.src[0]).chain(stores.iter().map(|store| store.reg)));
        let mut text = String::new();
        for fold in &folds {
            let start = identity(fold_of(fold), fold.dtype);
            text += &format!("var a{} : {} = {start};\n", fold.dst, scalar(fold.dtype));
        }
        let (first, step) = match self.walk {
            Walk::Thread => ("begin".to_owned(), "1u".to_owned()),
            Walk::Group(threads) => ("begin + local".to_owned(), format!("{threads}u")),
        };
        let program = self.program;
        let mut inner = {
            let (row, at, builder) = (&mut self.row, &mut self.at, &mut self.builder);
            let mut positions = |map: &fluxrs::shape::Map, builder: &mut Builder| {
                if columns { place(map, &mut [at, row], builder) } else { place(map, &mut [row, at], builder) }
            };
            program.full(&cone, builder, &mut positions, &|_| None)?
        };
        for fold in &folds {
            let total = format!("a{}", fold.dst);
            inner += &format!("{total} = {};\n", combine(fold_of(fold), fold.dtype, &total, &name(fold.src[0])));
        }
        inner += &self.stores(stores)?;
        text += &format!("for (var at = {first}; at < end; at += {step}) {{\nCOORDINATES\n{inner}}}\n");
        for fold in &folds {
            text += &self.gather(fold);
        }
        Ok(text)
    }

    /// The fold's result from the threads of a workgroup, in a tree of fixed order.
    fn gather(&self, fold: &Inst) -> String {
        let Walk::Group(threads) = self.walk else {
            return format!("let r{0} = a{0};\n", fold.dst);
        };
        let (reg, half) = (fold.dst, threads / 2);
        let both = combine(fold_of(fold), fold.dtype, &format!("p{reg}[local]"), &format!("p{reg}[local + half]"));
        format!(
            "p{reg}[local] = a{reg};\nworkgroupBarrier();\n\
             for (var half = {half}u; half > 0u; half = half >> 1u) {{\n\
             if (local < half) {{ p{reg}[local] = {both}; }}\nworkgroupBarrier();\n}}\nlet r{reg} = p{reg}[0];\n"
        )
    }

    /// Where a chunk's fold lies in the temporary.
    fn partial(&mut self, temp: u32, rows: &str, chunks: &str, k: usize, chunk: &str, access: Access) -> String {
        let buffer = self.builder.bind(Target::Temp(temp), access);
        format!("{buffer}[({k}u * {rows} + row) * {chunks} + {chunk}]")
    }

    fn launch(mut self, limits: &Limits, cost: usize) -> Result<Vec<Launch>> {
        let rows = self.row.size();
        let length = self.at.size();
        let each = if self.walk == Walk::Thread { ROWS } else { 1 };
        let items = Items { count: rows, each };
        items.declare(&mut self.builder.args);
        let rows_word = self.builder.args.size(rows);
        let length_word = self.builder.args.size(length);
        let (mut z, mut chunks_word, mut range) = (1, String::new(), format!("let begin = 0u;\nlet end = {length_word};\n"));
        if let Stage::Partial { chunks, .. } | Stage::Finish { chunks, .. } = self.stage {
            chunks_word = self.builder.args.size(chunks);
            if matches!(self.stage, Stage::Partial { .. }) {
                z = chunks as u32;
                let chunk = self.builder.args.size(length.div_ceil(chunks));
                range = format!("let begin = group.z * {chunk};\nlet end = min(begin + {chunk}, {length_word});\n");
            }
        }
        let body = self.stages(&rows_word, &chunks_word)?;
        let (threads, row) = match self.walk {
            Walk::Thread => (ROWS, format!("{} * {ROWS}u + local", Items::GROUP)),
            Walk::Group(threads) => (threads, Items::GROUP.to_owned()),
        };
        let live = if self.builder.guarded { format!("let live = {};\n", Builder::LIVE) } else { String::new() };
        let row_coordinates = self.row.coordinates(&mut self.builder.args);
        let at_coordinates = self.at.coordinates(&mut self.builder.args);
        let mut text = String::new();
        if let Walk::Group(threads) = self.walk {
            for fold in self.program.folds() {
                text += &format!("var<workgroup> p{}: array<{}, {threads}>;\n", fold.dst, scalar(fold.dtype));
            }
        }
        text += &format!(
            "@compute @workgroup_size({threads})\n\
             fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {{\n\
             let row = {row};\nif (row >= args.end) {{ return; }}\n{live}{range}{row_coordinates}{}}}\n",
            body.replace("COORDINATES\n", &at_coordinates)
        );
        Ok(items.dispatches(self.builder.finish(&text, [1, 1, z], cost), limits))
    }

    fn stages(&mut self, rows: &str, chunks: &str) -> Result<String> {
        let program = self.program;
        let full: Vec<&Store> = program.stores(Rank::Full).collect();
        let row: Vec<&Store> = program.stores(Rank::Row).collect();
        let last = program.folds().map(|fold| program.level(fold.src[0])).max().unwrap_or(0);
        match self.stage {
            Stage::Whole => {
                let top = program.body.code.iter().map(|inst| program.level(inst.dst)).max().unwrap_or(0);
                // Where every stored element is known in the last pass of folds, it is stored in that pass.
                let early = full.iter().all(|store| program.level(store.reg) <= last) && program.folds().next().is_some();
                let mut text = String::new();
                for level in 0..=top {
                    text += &self.row_level(level)?;
                    let stores = if early && level == last || !early && level == top { full.as_slice() } else { &[] };
                    text += &self.pass(level, stores)?;
                }
                let written = self.stores(&row)?;
                Ok(match self.walk {
                    Walk::Group(_) if !written.is_empty() => format!("{text}if (local == 0u) {{\n{written}}}\n"),
                    _ => text + &written,
                })
            }
            Stage::Partial { temp, .. } => {
                let mut text = self.row_level(0)? + &self.pass(0, &full)?;
                let mut written = String::new();
                for (k, fold) in program.folds().enumerate() {
                    let place = self.partial(temp, rows, chunks, k, "group.z", Access::Write);
                    written += &format!("{place} = {};\n", encode(fold.dtype, &name(fold.dst)));
                }
                if let Walk::Group(_) = self.walk {
                    written = format!("if (local == 0u) {{\n{written}}}\n");
                }
                text += &written;
                Ok(text)
            }
            Stage::Finish { temp, .. } => {
                let mut text = self.row_level(0)?;
                for (k, fold) in program.folds().enumerate() {
                    let word = self.partial(temp, rows, chunks, k, "chunk", Access::Read);
                    let (total, value) = (format!("r{}", fold.dst), format!("({})", decode(fold.dtype, &word)));
                    let both = combine(fold_of(fold), fold.dtype, &total, &value);
                    let start = identity(fold_of(fold), fold.dtype);
                    text += &format!(
                        "var {total}: {} = {start};\n\
                         for (var chunk = 0u; chunk < {chunks}; chunk++) {{ {total} = {both}; }}\n",
                        scalar(fold.dtype)
                    );
                }
                let top = program.body.code.iter().map(|inst| program.level(inst.dst)).max().unwrap_or(0);
                for level in 1..=top {
                    text += &self.row_level(level)?;
                }
                Ok(text + &self.stores(&row)?)
            }
        }
    }
}

/// The way in which rows of this number and length are walked, and the number of chunks that each is cut into.
fn shape_of(mode: Mode, rows: usize, length: usize, one_round: bool) -> (Walk, usize) {
    let walk = match length {
        _ if mode == Mode::Columns => Walk::Thread,
        0..=16 => Walk::Thread,
        17..=256 => Walk::Group(64),
        _ => Walk::Group(256),
    };
    let threads = match walk {
        Walk::Thread => 1,
        Walk::Group(threads) => threads,
    };
    let idle = BUSY / (rows * threads).max(1);
    let chunks = idle.min(length / (CHUNK * threads)).min(256);
    (walk, if one_round && chunks > 1 { chunks } else { 1 })
}

/// The kernels of a loop that folds.
pub(crate) fn launches(body: &Loop, targets: &mut Targets, guarded: bool, cost: usize, limits: &Limits) -> Result<Vec<Launch>> {
    // One binding is left for the results of chunks.
    let room = limits.storage - usize::from(guarded || any_overflows(body)) - 1;
    let groups = if spill::bindings(body, &targets.all) <= room {
        vec![body.stores.iter().collect()]
    } else {
        map::dispatches(&Program::new(body)?, &targets.all, room)
    };
    let (first, then) = spill::pieces(body, groups, targets, room)?;
    let mut all = Vec::new();
    for part in &first {
        all.extend(match part.mode {
            Mode::Map => map::launch(part, &targets.all, false, cost, limits)?,
            _ => reductions(part, targets, false, cost, limits)?,
        });
    }
    for rest in &then {
        all.extend(reductions(rest, targets, guarded, cost, limits)?);
    }
    Ok(all)
}

/// The kernels of a loop that binds few enough buffers.
fn reductions(body: &Loop, targets: &mut Targets, guarded: bool, cost: usize, limits: &Limits) -> Result<Vec<Launch>> {
    let program = Program::new(body)?;
    let (outer, inner) = body.dims.split_at(body.fence);
    let (kept, gone) = if body.mode == Mode::Rows { (outer, inner) } else { (inner, outer) };
    let (rows, length): (usize, usize) = (kept.iter().product(), gone.iter().product());
    if rows == 0 {
        return Ok(Vec::new());
    }
    let one_round = program.folds().next().is_some()
        && program.folds().all(|fold| program.level(fold.dst) == 1)
        && program.stores(Rank::Full).all(|store| program.level(store.reg) == 0);
    let (walk, chunks) = shape_of(body.mode, rows, length, one_round);
    let temp = if chunks > 1 { (targets.temporary)(program.folds().count() * rows * chunks) } else { 0 };
    let reduction = |walk, stage| ReductionKernel {
        program: &program,
        builder: Builder::new(&targets.all, guarded, 0),
        row: Segment::new("row", kept),
        at: Segment::new("at", gone),
        walk,
        stage,
    };
    if chunks == 1 {
        return reduction(walk, Stage::Whole).launch(limits, cost);
    }
    let mut all = reduction(walk, Stage::Partial { temp, chunks }).launch(limits, cost)?;
    all.extend(reduction(Walk::Thread, Stage::Finish { temp, chunks }).launch(limits, cost / chunks)?);
    Ok(all)
}
