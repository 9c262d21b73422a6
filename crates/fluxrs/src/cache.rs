//! A bounded map that forgets what was used longest ago.

use rustc_hash::{FxBuildHasher, FxHashMap};
use std::hash::Hash;

pub struct Cache<K, V> {
    map: FxHashMap<K, (V, u64)>,
    clock: u64,
    limit: usize,
}

impl<K: Hash + Eq + Copy, V> Cache<K, V> {
    pub const fn new(limit: usize) -> Self {
        Cache { map: FxHashMap::with_hasher(FxBuildHasher), clock: 0, limit }
    }

    pub fn get(&mut self, key: &K) -> Option<&V> {
        self.clock += 1;
        let clock = self.clock;
        self.map.get_mut(key).map(|entry| {
            entry.1 = clock;
            &entry.0
        })
    }

    /// Adds an entry; when full, the older half goes, so that the cost is spread thin.
    pub fn insert(&mut self, key: K, value: V) {
        if self.map.len() >= self.limit {
            let mut ages: Vec<u64> = self.map.values().map(|e| e.1).collect();
            let middle = ages.len() / 2;
            let (_, &mut median, _) = ages.select_nth_unstable(middle);
            self.map.retain(|_, e| e.1 > median);
        }
        self.clock += 1;
        self.map.insert(key, (value, self.clock));
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn clear(&mut self) {
        self.map.clear();
    }
}
