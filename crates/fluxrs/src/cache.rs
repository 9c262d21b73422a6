//! A bounded map that forgets what was used longest ago.

use rustc_hash::{FxBuildHasher, FxHashMap};
use std::hash::Hash;

pub struct Cache<K, V> {
    /// With each value when it was used last, and its weight.
    map: FxHashMap<K, (V, u64, usize)>,
    clock: u64,
    limit: usize,
    weight: usize,
    heaviest: usize,
}

impl<K: Hash + Eq + Copy, V> Cache<K, V> {
    /// At most `limit` entries, which together weigh `heaviest` at most.
    pub const fn new(limit: usize, heaviest: usize) -> Self {
        Cache { map: FxHashMap::with_hasher(FxBuildHasher), clock: 0, limit, weight: 0, heaviest }
    }

    pub fn get(&mut self, key: &K) -> Option<&V> {
        self.clock += 1;
        let clock = self.clock;
        self.map.get_mut(key).map(|entry| {
            entry.1 = clock;
            &entry.0
        })
    }

    /// Adds an entry; when there are too many, the older half goes, so that the cost is spread thin. One that is too heavy
    /// by itself is not kept.
    pub fn insert(&mut self, key: K, value: V, weight: usize) {
        if weight > self.heaviest {
            return;
        }
        while !self.map.is_empty() && (self.map.len() >= self.limit || self.weight + weight > self.heaviest) {
            let mut ages: Vec<u64> = self.map.values().map(|e| e.1).collect();
            let middle = ages.len() / 2;
            let (_, &mut median, _) = ages.select_nth_unstable(middle);
            self.map.retain(|_, e| e.1 > median);
            self.weight = self.map.values().map(|e| e.2).sum();
        }
        self.clock += 1;
        self.weight += weight;
        if let Some((_, _, old)) = self.map.insert(key, (value, self.clock, weight)) {
            self.weight -= old;
        }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn clear(&mut self) {
        self.weight = 0;
        self.map.clear();
    }
}
