//! A map with a bound: where it is full, the oldest entry makes room.
//!
//! What enters: keys and values. What leaves: at most `max` of them, the newest. For what is remembered about things
//! that a user can make without end (connections, files, commands): what goes is known again when it is seen again.

use std::{borrow::Borrow, hash::Hash};

use foldhash::fast::RandomState;
use hashlink::LinkedHashMap;

#[derive(Debug)]
pub struct Bounded<K, V> {
    map: LinkedHashMap<K, V, RandomState>,
    max: usize,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    pub fn new(max: usize) -> Self {
        Self { map: LinkedHashMap::with_hasher(RandomState::default()), max: max.max(1) }
    }

    /// A key that is known keeps its age. Returns what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.map.replace(key, value);
        if self.map.len() > self.max {
            self.map.pop_front();
        }
        before
    }

    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.map.get(key)
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key)
    }

    pub fn contains_key(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }

    /// The value, made where it is not there.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        K: Clone,
        V: Default,
    {
        if !self.map.contains_key(&key) {
            self.insert(key.clone(), V::default());
        }
        self.map.entry(key).or_insert_with(V::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_what_was_removed_leaves_none_behind() {
        let mut map = Bounded::new(2);
        assert_eq!([map.insert(1, 'a'), map.insert(2, 'b'), map.insert(1, 'c')], [None, None, Some('a')]);
        map.insert(3, 'd');
        assert_eq!([map.get(&1), map.get(&2), map.get(&3)], [None, Some(&'b'), Some(&'d')]);
        // A key that comes again after it was removed is new.
        assert_eq!(map.remove(&2), Some('b'));
        map.insert(4, 'e');
        map.insert(2, 'f');
        assert_eq!([map.contains_key(&3), map.contains_key(&4), map.contains_key(&2)], [false, true, true]);
        *map.get_or_default(5) = 'g';
        assert_eq!([map.get(&4), map.get(&5)], [None, Some(&'g')]);
    }
}
