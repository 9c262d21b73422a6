//! Barriers are reached by all threads of a workgroup or by none, told from workgroup numbers, uniforms and constants
//! alone: naga accepts more, but the shader compiler of DX12 does not.

use naga::{AddressSpace, Arena, Binding, Block, BuiltIn, Expression, Function, Handle, LocalVariable, Module, Statement};
use std::collections::HashSet;

struct Walk<'a> {
    module: &'a Module,
    function: &'a Function,
    /// Local variables that some thread may see with another value than its neighbour.
    varying: HashSet<Handle<LocalVariable>>,
}

impl Walk<'_> {
    fn expressions(&self) -> &Arena<Expression> {
        &self.function.expressions
    }

    /// True if every thread of a workgroup computes the same value.
    fn is_uniform(&self, handle: Handle<Expression>) -> bool {
        match &self.expressions()[handle] {
            Expression::Literal(_) | Expression::Constant(_) | Expression::ZeroValue(_) | Expression::Override(_) => true,
            Expression::FunctionArgument(i) => {
                matches!(self.function.arguments[*i as usize].binding, Some(Binding::BuiltIn(BuiltIn::WorkGroupId)))
            }
            Expression::GlobalVariable(global) => {
                matches!(self.module.global_variables[*global].space, AddressSpace::Uniform | AddressSpace::Immediate)
            }
            Expression::LocalVariable(local) => !self.varying.contains(local),
            Expression::Load { pointer } => self.is_uniform(*pointer),
            Expression::AccessIndex { base, .. } | Expression::Swizzle { vector: base, .. } => self.is_uniform(*base),
            Expression::Access { base, index } => self.is_uniform(*base) && self.is_uniform(*index),
            Expression::Splat { value, .. } => self.is_uniform(*value),
            Expression::Compose { components, .. } => components.iter().all(|c| self.is_uniform(*c)),
            Expression::Unary { expr, .. } | Expression::As { expr, .. } => self.is_uniform(*expr),
            Expression::Binary { left, right, .. } => self.is_uniform(*left) && self.is_uniform(*right),
            Expression::Select { condition, accept, reject } => [condition, accept, reject].iter().all(|e| self.is_uniform(**e)),
            Expression::Math { arg, arg1, arg2, arg3, .. } => {
                [Some(*arg), *arg1, *arg2, *arg3].iter().flatten().all(|e| self.is_uniform(*e))
            }
            _ => false,
        }
    }

    /// Marks what is stored a varying value, or stored under a varying condition; true if anything was new.
    fn mark(&mut self, block: &Block, divergent: bool) -> bool {
        let mut changed = false;
        for statement in block {
            match statement {
                Statement::Store { pointer, value } => {
                    let mut target = *pointer;
                    while let Expression::AccessIndex { base, .. } | Expression::Access { base, .. } = self.expressions()[target]
                    {
                        target = base;
                    }
                    if let Expression::LocalVariable(local) = self.expressions()[target]
                        && (divergent || !self.is_uniform(*value))
                    {
                        changed |= self.varying.insert(local);
                    }
                }
                Statement::Block(inner) => changed |= self.mark(inner, divergent),
                Statement::If { condition, accept, reject } => {
                    let inner = divergent || !self.is_uniform(*condition);
                    changed |= self.mark(accept, inner);
                    changed |= self.mark(reject, inner);
                }
                Statement::Switch { selector, cases } => {
                    let inner = divergent || !self.is_uniform(*selector);
                    cases.iter().for_each(|case| changed |= self.mark(&case.body, inner));
                }
                Statement::Loop { body, continuing, .. } => {
                    let inner = divergent || self.leaves_divergently(body);
                    changed |= self.mark(body, inner);
                    changed |= self.mark(continuing, inner);
                }
                _ => (),
            }
        }
        changed
    }

    /// True if some threads may leave this block earlier than others.
    fn leaves_divergently(&self, block: &Block) -> bool {
        block.iter().any(|statement| match statement {
            Statement::Block(inner) => self.leaves_divergently(inner),
            Statement::If { condition, accept, reject } => {
                let leaves = leaves(accept) || leaves(reject);
                leaves && !self.is_uniform(*condition) || self.leaves_divergently(accept) || self.leaves_divergently(reject)
            }
            // A break or a continue in there leaves the loop inside alone.
            Statement::Loop { body, continuing, .. } => returns(body) || returns(continuing),
            Statement::Switch { selector, cases } => {
                cases.iter().any(|case| leaves(&case.body) && !self.is_uniform(*selector) || self.leaves_divergently(&case.body))
            }
            _ => false,
        })
    }

    /// Walks a block; true if threads may have parted by its end.
    fn check(&self, block: &Block, mut divergent: bool) -> bool {
        for statement in block {
            match statement {
                Statement::ControlBarrier(_) => assert!(!divergent, "a barrier in divergent flow"),
                Statement::Block(inner) => divergent = self.check(inner, divergent),
                Statement::If { condition, accept, reject } => {
                    let inner = divergent || !self.is_uniform(*condition);
                    self.check(accept, inner);
                    self.check(reject, inner);
                    divergent |= inner && (leaves(accept) || leaves(reject));
                }
                Statement::Switch { selector, cases } => {
                    let inner = divergent || !self.is_uniform(*selector);
                    cases.iter().for_each(|case| {
                        self.check(&case.body, inner);
                    });
                }
                Statement::Loop { body, continuing, .. } => {
                    let inner = divergent || self.leaves_divergently(body);
                    self.check(body, inner);
                    self.check(continuing, inner);
                }
                _ => (),
            }
        }
        divergent
    }
}

/// True if a block contains a way out of it.
fn leaves(block: &Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Return { .. } | Statement::Break | Statement::Continue | Statement::Kill => true,
        Statement::Block(inner) => leaves(inner),
        Statement::If { accept, reject, .. } => leaves(accept) || leaves(reject),
        _ => false,
    })
}

/// True if a block contains a way out of the whole function.
fn returns(block: &Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Return { .. } | Statement::Kill => true,
        Statement::Block(inner) => returns(inner),
        Statement::If { accept, reject, .. } => returns(accept) || returns(reject),
        Statement::Switch { cases, .. } => cases.iter().any(|case| returns(&case.body)),
        Statement::Loop { body, continuing, .. } => returns(body) || returns(continuing),
        _ => false,
    })
}

/// Fails if a barrier of the module is in flow that may diverge.
pub(crate) fn check(module: &Module) {
    for (_, function) in module.functions.iter() {
        let walk = Walk { module, function, varying: HashSet::new() };
        // Helper functions have no barriers at all, so their flow does not matter.
        walk.check(&function.body, true);
    }
    for entry in &module.entry_points {
        let mut walk = Walk { module, function: &entry.function, varying: HashSet::new() };
        let uninitialised =
            entry.function.local_variables.iter().filter(|(_, local)| local.init.is_some_and(|init| !walk.is_uniform(init)));
        let start: Vec<_> = uninitialised.map(|(handle, _)| handle).collect();
        walk.varying.extend(start);
        while walk.mark(&entry.function.body, false) {}
        walk.check(&entry.function.body, false);
    }
}

#[test]
fn a_barrier_behind_a_thread_s_own_condition_is_found() {
    let text = |condition: &str| {
        format!(
            "@group(0) @binding(0) var<uniform> args: vec4<u32>;\n\
             @compute @workgroup_size(64) fn main(@builtin(workgroup_id) group: vec3<u32>, \
             @builtin(local_invocation_index) local: u32) {{\n\
             var i = 0u;\nfor (; i < args.x; i++) {{ if ({condition}) {{ workgroupBarrier(); }} }}\n}}"
        )
    };
    let parse = |condition| naga::front::wgsl::parse_str(&text(condition)).unwrap();
    check(&parse("group.x + i < args.y"));
    for bad in ["local < 4u", "i < local"] {
        assert!(std::panic::catch_unwind(|| check(&parse(bad))).is_err(), "{bad}");
    }
}
