//! A map whose keys are mostly few: a list up to a dozen, which costs no allocation, and hashed beyond.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::hash::Hash;

const FEW: usize = 12;

pub struct SmallMap<K, V = ()> {
    entries: SmallVec<[(K, V); FEW]>,
    /// The place of each entry, from the time on when they are many.
    places: FxHashMap<K, usize>,
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        SmallMap { entries: SmallVec::new(), places: FxHashMap::default() }
    }
}

impl<K: Copy + Eq + Hash, V> SmallMap<K, V> {
    #[inline]
    fn place(&self, key: &K) -> Option<usize> {
        match self.entries.len() {
            0..=FEW => self.entries.iter().position(|e| e.0 == *key),
            _ => self.places.get(key).copied(),
        }
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.place(key).map(|i| &mut self.entries[i].1)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn contains(&self, key: &K) -> bool {
        self.place(key).is_some()
    }

    /// Adds an entry unless the key has one; whether it was added.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        let is_new = !self.contains(&key);
        if is_new {
            self.push(key, value);
        }
        is_new
    }

    fn push(&mut self, key: K, value: V) {
        self.entries.push((key, value));
        if self.entries.len() > FEW {
            self.index();
        }
    }

    /// Finds a place for the last entry, or for all that have come so far.
    #[cold]
    fn index(&mut self) {
        let n = self.entries.len();
        match self.places.is_empty() {
            true => self.places.extend(self.entries.iter().map(|e| e.0).zip(0..n)),
            false => drop(self.places.insert(self.entries[n - 1].0, n - 1)),
        }
    }

    /// The value of a key, which is the default until something is made of it.
    pub fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let place = self.place(&key).unwrap_or_else(|| {
            self.push(key, V::default());
            self.entries.len() - 1
        });
        &mut self.entries[place].1
    }

    /// The entries in the order in which they came.
    pub fn into_entries(self) -> impl Iterator<Item = (K, V)> {
        self.entries.into_iter()
    }

    pub fn entries(&self) -> impl Iterator<Item = &(K, V)> {
        self.entries.iter()
    }
}

impl<K: Copy + Eq + Hash> FromIterator<K> for SmallMap<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut out = SmallMap::default();
        for key in keys {
            out.insert(key, ());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::SmallMap;

    #[test]
    fn few_and_many_keys_are_found() {
        for n in [0, 1, 12, 13, 100] {
            let mut map = SmallMap::default();
            for i in 0..n {
                assert!(map.insert(i * 3, i) && !map.insert(i * 3, 0), "{i} of {n}");
            }
            assert!((0..n).all(|i| map.get_mut(&(i * 3)) == Some(&mut { i })), "{n}");
            assert!(!map.contains(&1) && !map.contains(&(n * 3)), "{n}");
            assert!(map.into_entries().map(|e| e.1).eq(0..n), "{n}");
        }
    }
}
