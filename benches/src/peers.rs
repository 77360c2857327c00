//! What else could hold the tokens, behind one face: insert, read, remove, walk. Each is made with room for all tokens
//! where it can be, and runs twice: on the heap as it comes and on one that asks for huge pages (`+thp`).

use crate::{
    row::{Failure, Kind, Row, Sample, Work},
    tokens::Words,
};

/// One of the others.
pub(crate) trait Peer: 'static {
    const NAME: &'static str;
    /// The name on a heap with huge pages.
    const NAME_THP: &'static str;
    type Key: Copy + 'static;
    fn with_room(tokens: usize) -> Self;
    fn insert(&mut self, words: Words) -> Self::Key;
    /// Calls `look` with the token, if it is there.
    fn read<R>(&self, key: Self::Key, look: impl FnOnce(&Words) -> R) -> Option<R>;
    /// `false` if it was not there.
    fn remove(&mut self, key: Self::Key) -> bool;
    fn each(&mut self, visit: impl FnMut(&Words));
}

/// The token as any other crate would hold it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Plain(Words);

/// What a group does with a peer in one round.
pub(crate) type Round = fn(&Work) -> Result<Sample, Failure>;

/// The plain row and the one on huge pages.
pub(crate) fn rows<P: Peer>(round: Round) -> Vec<Row> {
    let version = version_of(P::NAME);
    let mut rows = vec![Row::new(P::NAME, Kind::Peer, version, round)];
    if crate::child::HUGE_HEAP {
        rows.push(Row::new(P::NAME_THP, Kind::Peer, version, round).on_huge_heap());
    }
    rows
}

fn version_of(name: &str) -> &'static str {
    #[cfg(feature = "peers")]
    if name != "Vec" {
        return crate::machine::version_in_lock(name);
    }
    let _ = name;
    "std"
}

impl Peer for Vec<Plain> {
    const NAME: &'static str = "Vec";
    const NAME_THP: &'static str = "Vec+thp";
    type Key = usize;
    fn with_room(tokens: usize) -> Self {
        Vec::with_capacity(tokens)
    }
    #[inline(always)]
    fn insert(&mut self, words: Words) -> usize {
        self.push(Plain(words));
        self.len() - 1
    }
    #[inline(always)]
    fn read<R>(&self, key: usize, look: impl FnOnce(&Words) -> R) -> Option<R> {
        self.get(key).map(|plain| look(&plain.0))
    }
    fn remove(&mut self, _key: usize) -> bool {
        unreachable!("a Vec moves what is behind; no group asks for it")
    }
    fn each(&mut self, mut visit: impl FnMut(&Words)) {
        self.iter().for_each(|plain| visit(&plain.0));
    }
}

#[cfg(feature = "peers")]
mod outside {
    use super::{Peer, Plain, Words};

    impl Peer for slab::Slab<Plain> {
        const NAME: &'static str = "slab";
        const NAME_THP: &'static str = "slab+thp";
        type Key = usize;
        fn with_room(tokens: usize) -> Self {
            slab::Slab::with_capacity(tokens)
        }
        #[inline(always)]
        fn insert(&mut self, words: Words) -> usize {
            slab::Slab::insert(self, Plain(words))
        }
        #[inline(always)]
        fn read<R>(&self, key: usize, look: impl FnOnce(&Words) -> R) -> Option<R> {
            self.get(key).map(|plain| look(&plain.0))
        }
        #[inline(always)]
        fn remove(&mut self, key: usize) -> bool {
            self.try_remove(key).is_some()
        }
        fn each(&mut self, mut visit: impl FnMut(&Words)) {
            self.iter().for_each(|(_, plain)| visit(&plain.0));
        }
    }

    impl Peer for slotmap::SlotMap<slotmap::DefaultKey, Plain> {
        const NAME: &'static str = "slotmap";
        const NAME_THP: &'static str = "slotmap+thp";
        type Key = slotmap::DefaultKey;
        fn with_room(tokens: usize) -> Self {
            slotmap::SlotMap::with_capacity(tokens)
        }
        #[inline(always)]
        fn insert(&mut self, words: Words) -> Self::Key {
            slotmap::SlotMap::insert(self, Plain(words))
        }
        #[inline(always)]
        fn read<R>(&self, key: Self::Key, look: impl FnOnce(&Words) -> R) -> Option<R> {
            self.get(key).map(|plain| look(&plain.0))
        }
        #[inline(always)]
        fn remove(&mut self, key: Self::Key) -> bool {
            slotmap::SlotMap::remove(self, key).is_some()
        }
        fn each(&mut self, mut visit: impl FnMut(&Words)) {
            self.values().for_each(|plain| visit(&plain.0));
        }
    }

    impl Peer for thunderdome::Arena<Plain> {
        const NAME: &'static str = "thunderdome";
        const NAME_THP: &'static str = "thunderdome+thp";
        type Key = thunderdome::Index;
        fn with_room(tokens: usize) -> Self {
            thunderdome::Arena::with_capacity(tokens)
        }
        #[inline(always)]
        fn insert(&mut self, words: Words) -> Self::Key {
            thunderdome::Arena::insert(self, Plain(words))
        }
        #[inline(always)]
        fn read<R>(&self, key: Self::Key, look: impl FnOnce(&Words) -> R) -> Option<R> {
            self.get(key).map(|plain| look(&plain.0))
        }
        #[inline(always)]
        fn remove(&mut self, key: Self::Key) -> bool {
            thunderdome::Arena::remove(self, key).is_some()
        }
        fn each(&mut self, mut visit: impl FnMut(&Words)) {
            self.iter().for_each(|(_, plain)| visit(&plain.0));
        }
    }

    /// Grows as it likes: it takes no capacity.
    impl Peer for sharded_slab::Slab<Plain> {
        const NAME: &'static str = "sharded-slab";
        const NAME_THP: &'static str = "sharded-slab+thp";
        type Key = usize;
        fn with_room(_tokens: usize) -> Self {
            sharded_slab::Slab::new()
        }
        #[inline(always)]
        fn insert(&mut self, words: Words) -> usize {
            sharded_slab::Slab::insert(self, Plain(words)).expect("room for all tokens")
        }
        #[inline(always)]
        fn read<R>(&self, key: usize, look: impl FnOnce(&Words) -> R) -> Option<R> {
            self.get(key).map(|plain| look(&plain.0))
        }
        #[inline(always)]
        fn remove(&mut self, key: usize) -> bool {
            sharded_slab::Slab::remove(self, key)
        }
        fn each(&mut self, mut visit: impl FnMut(&Words)) {
            self.unique_iter().for_each(|plain| visit(&plain.0));
        }
    }

    impl Peer for boxcar::Vec<Plain> {
        const NAME: &'static str = "boxcar";
        const NAME_THP: &'static str = "boxcar+thp";
        type Key = usize;
        fn with_room(tokens: usize) -> Self {
            boxcar::Vec::with_capacity(tokens)
        }
        #[inline(always)]
        fn insert(&mut self, words: Words) -> usize {
            self.push(Plain(words))
        }
        #[inline(always)]
        fn read<R>(&self, key: usize, look: impl FnOnce(&Words) -> R) -> Option<R> {
            self.get(key).map(|plain| look(&plain.0))
        }
        fn remove(&mut self, _key: usize) -> bool {
            unreachable!("it only grows; no group asks for it")
        }
        fn each(&mut self, mut visit: impl FnMut(&Words)) {
            self.iter().for_each(|(_, plain)| visit(&plain.0));
        }
    }
}

/// Rows of every peer: `$round` takes the peer as its type.
macro_rules! peer_rows {
    ($round:ident: $($always:ty),* ; $($outside:ty),*) => {{
        #[allow(unused_mut, reason = "without the feature some groups have no peer")]
        let mut rows = Vec::new();
        $(rows.extend($crate::peers::rows::<$always>($round::<$always>));)*
        #[cfg(feature = "peers")]
        {
            $(rows.extend($crate::peers::rows::<$outside>($round::<$outside>));)*
        }
        rows
    }};
}
pub(crate) use peer_rows;
