//! Which value is in which register, and what stays there.

use super::emit::{Emitter, NEXT, REST_256, constants, last_reads};
use super::encode::{ADDRESS, General, Place, Vector};
use crate::simd::isa::Level;
use crate::simd::trace::{Id, Step};

/// Mask registers that values may have.
const TRUTHS: std::ops::Range<u8> = 2..8;
/// General registers that keep an operand's address.
const ADDRESSES: [General; 5] = [1, 8, 9, 10, 11];

impl Emitter<'_> {
    /// Gives general registers to the addresses that the body needs, as many as there are.
    pub(super) fn addresses(&mut self) {
        let mut free = ADDRESSES.into_iter();
        for k in 0..self.steps.len() {
            let (Step::Load(operand) | Step::Truths(operand) | Step::Store(operand, _) | Step::StoreTruths(operand, _)) =
                self.steps[k]
            else {
                continue;
            };
            let at = (operand & !NEXT) as usize;
            if self.is_wanted(k)
                && self.generals.get(at).is_none_or(Option::is_none)
                && let Some(general) = free.next()
            {
                self.asm.address(general, at as u16);
                self.generals.resize(self.generals.len().max(at + 1), None);
                self.generals[at] = Some(general);
            }
        }
    }

    /// The elements of an operand at the index, or of the next vector.
    pub(super) fn indexed(&mut self, k: u16, size: u8) -> Place {
        let far = if k & NEXT != 0 { self.lanes() as i32 * i32::from(size) } else { 0 };
        Place::Indexed(self.address(k & !NEXT), size, far)
    }

    pub(super) fn address(&mut self, k: u16) -> General {
        if let Some(&Some(general)) = self.generals.get(k as usize) {
            return general;
        }
        self.asm.address(ADDRESS, k);
        ADDRESS
    }

    /// True of values that lie in memory or in the code as one element.
    pub(super) fn is_same(&self, id: usize) -> bool {
        matches!(self.steps[id], Step::Single(_) | Step::Number(_))
    }

    /// Fills registers with what is the same for all elements: what is computed of it, and of the rest as much as the body leaves room for.
    pub(super) fn keep(&mut self) -> Option<()> {
        let n = self.steps.len();
        self.constant = constants(self.steps);
        let is_vector = |s: Step| self.asm.level == Level::Avx2 || !s.is_truth();
        let (mut first, mut uses) = (vec![usize::MAX; n], vec![0; n]);
        for k in (0..n).filter(|&k| !self.constant[k] && self.is_wanted(k)) {
            for id in self.steps[k].reads() {
                first[id as usize] = first[id as usize].min(k);
                uses[id as usize] += 1;
            }
        }
        // The most values that the body has at a time.
        let mut change = vec![0i32; n + 1];
        for id in (0..n).filter(|&id| uses[id] > 0 && !self.constant[id] && is_vector(self.steps[id])) {
            let from = if matches!(self.steps[id], Step::Load(_)) { first[id] } else { id };
            change[from] += 1;
            change[self.last[id] + 1] -= 1;
        }
        let mut most = 0;
        change.iter().fold(0, |now, c| {
            most = most.max(now + c);
            now + c
        });
        // One for a result that cannot take an operand's place; two more to bring what does not stay.
        let free = i32::from(self.registers()) - most - 1;
        let computed: Vec<usize> = (0..n).filter(|&id| self.constant[id] && !self.is_same(id) && uses[id] > 0).collect();
        let mut list: Vec<usize> = (0..n).filter(|&id| self.is_same(id) && uses[id] > 0).collect();
        let left = free - computed.len() as i32;
        if left < 2 {
            // Too many: all are computed again for each vector.
            self.constant = (0..n).map(|id| self.is_same(id)).collect();
            return Some(());
        }
        self.prelude(&computed)?;
        self.last = last_reads(self.steps, &self.constant);
        if list.len() as i32 > left {
            list.sort_by_key(|&id| std::cmp::Reverse(uses[id]));
            list.truncate((left - 2) as usize);
        }
        for id in list {
            self.kept[id] = true;
            self.value(id as Id, &[])?;
        }
        Some(())
    }

    /// Computes what is the same for all elements, of which these values stay.
    pub(super) fn prelude(&mut self, stay: &[usize]) -> Option<()> {
        stay.iter().for_each(|&id| self.kept[id] = true);
        for k in 0..self.steps.len() {
            if self.constant[k] && !self.is_same(k) && self.last[k] > 0 {
                self.step(k)?;
            }
        }
        for register in 0..self.registers() as usize {
            if let Some(id) = self.vectors[register].filter(|&id| !self.kept[id as usize]) {
                (self.vectors[register], self.at[id as usize]) = (None, None);
            }
        }
        Some(())
    }

    pub(super) fn registers(&self) -> u8 {
        if self.asm.is_512() { 32 } else { REST_256 }
    }

    pub(super) fn is_wanted(&self, k: usize) -> bool {
        self.last[k] > 0 || matches!(self.steps[k], Step::Store(..) | Step::StoreTruths(..))
    }

    /// A free vector register; if there is none, one whose value can be read again and is not among `pinned`.
    pub(super) fn vector(&mut self, id: Id, pinned: &[u8]) -> Option<Vector> {
        let free = (0..self.registers()).find(|&r| self.vectors[r as usize].is_none());
        let register = free.or_else(|| {
            let again = |r: &u8| {
                self.vectors[*r as usize].is_some_and(|id| {
                    let step = self.steps[id as usize];
                    !self.kept[id as usize] && matches!(step, Step::Load(_) | Step::Single(_) | Step::Number(_))
                })
            };
            let list = (0..self.registers()).filter(again).filter(|r| !pinned.contains(r));
            list.max_by_key(|&r| self.vectors[r as usize].map(|id| self.last[id as usize]))
        })?;
        if let Some(old) = self.vectors[register as usize].replace(id) {
            self.at[old as usize] = None;
        }
        self.at[id as usize] = Some(register);
        Some(register)
    }

    pub(super) fn truth(&mut self, id: Id, pinned: &[u8]) -> Option<u8> {
        if !self.asm.is_512() {
            return self.vector(id, pinned);
        }
        let register = TRUTHS.into_iter().find(|&k| self.masks[k as usize].is_none())?;
        self.masks[register as usize] = Some(id);
        self.at[id as usize] = Some(register);
        Some(register)
    }

    /// The register of a value, into which it is brought if it lies in memory.
    pub(super) fn value(&mut self, id: Id, pinned: &[u8]) -> Option<u8> {
        if let Some(register) = self.at[id as usize] {
            return Some(register);
        }
        let step = self.steps[id as usize];
        let register = if matches!(step, Step::Truths(_)) { self.truth(id, pinned)? } else { self.vector(id, pinned)? };
        match step {
            Step::Load(k) => {
                let place = self.indexed(k, self.size());
                self.load(register, place);
            }
            Step::Single(k) => {
                let place = Place::At(self.address(k));
                self.broadcast(register, place);
            }
            Step::Number(bits) => {
                let place = self.asm.pool(bits);
                self.broadcast(register, place);
            }
            Step::Truths(k) => {
                let place = self.indexed(k, 1);
                self.load_truths(register, place)?;
            }
            _ => return None,
        }
        Some(register)
    }

    /// Gives back the registers of values that step k read last.
    pub(super) fn release(&mut self, k: usize) {
        for id in self.steps[k].reads() {
            self.free_after(id, k);
        }
    }

    pub(super) fn free_after(&mut self, id: Id, k: usize) {
        if self.last[id as usize] <= k
            && !self.kept[id as usize]
            && let Some(register) = self.at[id as usize].take()
        {
            let is_mask = self.asm.is_512() && self.steps[id as usize].is_truth();
            if is_mask { self.masks[register as usize] = None } else { self.vectors[register as usize] = None }
        }
    }
}
