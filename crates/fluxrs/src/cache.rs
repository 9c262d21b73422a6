//! A map of bounded size that forgets what was used longest ago.

use rustc_hash::{FxBuildHasher, FxHashMap};
use std::borrow::Borrow;
use std::hash::Hash;

pub struct Cache<K, V> {
    map: FxHashMap<K, Entry<V>>,
    clock: u64,
    bytes: usize,
    limit: usize,
}

struct Entry<V> {
    value: V,
    used: u64,
    bytes: usize,
}

impl<K: Hash + Eq, V> Cache<K, V> {
    /// Entries of at most `limit` bytes together.
    pub const fn new(limit: usize) -> Self {
        Cache { map: FxHashMap::with_hasher(FxBuildHasher), clock: 0, bytes: 0, limit }
    }

    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.clock += 1;
        let clock = self.clock;
        self.map.get_mut(key).map(|entry| {
            entry.used = clock;
            &entry.value
        })
    }

    /// Adds an entry of so many bytes, unless that alone is too much. Where they become too many together the older half goes,
    /// so that the cost is spread thin.
    pub fn insert(&mut self, key: K, value: V, bytes: usize) {
        let bytes = bytes + size_of::<(K, Entry<V>)>();
        if bytes > self.limit {
            return;
        }
        while !self.map.is_empty() && self.bytes.saturating_add(bytes) > self.limit {
            crate::work::count(self.map.len());
            let mut ages: Vec<u64> = self.map.values().map(|e| e.used).collect();
            let middle = ages.len() / 2;
            let (_, &mut median, _) = ages.select_nth_unstable(middle);
            self.map.retain(|_, e| e.used > median);
            self.bytes = self.map.values().map(|e| e.bytes).sum();
        }
        self.clock += 1;
        self.bytes += bytes;
        if let Some(old) = self.map.insert(key, Entry { value, used: self.clock, bytes }) {
            self.bytes -= old.bytes;
        }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The bytes of all entries.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Memory that a list takes beside itself.
pub fn bytes_of<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

#[cfg(test)]
mod tests {
    use super::Cache;

    #[test]
    fn the_limit_is_of_bytes() {
        let mut cache = Cache::new(10_000);
        for i in 0..1000 {
            cache.insert(i, i, 100 + i % 7);
            assert!(cache.get(&0).is_some(), "what is used stays");
            assert!(cache.bytes() <= 10_000);
        }
        assert!(cache.len() > 20);
        let before = cache.len();
        cache.insert(1000, 1, 50_000);
        assert_eq!((cache.len(), cache.get(&1000)), (before, None));
        cache.insert(1001, 2, 9_900);
        assert_eq!((cache.len(), cache.get(&1001)), (1, Some(&2)));
    }
}
