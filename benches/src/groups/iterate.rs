//! Group `iterate`: all tokens in the order of their slots, every word of them used.

use std::{hint::black_box, num::NonZeroUsize, thread, time::Instant};

use ng_core::Arena;

use crate::{
    peers::{Peer, peer_rows},
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject::{arena, check, fill, fill_plain, folded, mapping, sample},
    tokens,
};

pub(crate) fn group() -> Group {
    let ours = |name, walk: fn(&Arena) -> u64| {
        let measure = move |work: &Work| read(work, walk);
        Row::new(name, Kind::Ours, env!("CARGO_PKG_VERSION"), measure)
    };
    let mut rows = vec![
        ours("neurograph", iterate),
        ours("neurograph:for_each", for_each),
        ours("neurograph:scan", scan),
        Row::new("floor:read", Kind::Floor, "", floor),
    ];
    rows.extend(peer_rows!(peer: Vec<crate::peers::Plain>;
        slab::Slab<crate::peers::Plain>,
        slotmap::SlotMap<slotmap::DefaultKey, crate::peers::Plain>,
        thunderdome::Arena<crate::peers::Plain>));
    let (over, under) = ("floor:read", "neurograph");
    let bars =
        vec![Bar { id: "iterate", over, under, side: Side::AtLeast, bar: 0.8, goal: Some(0.9) }];
    Group::in_memory("iterate", "Read all tokens in the order of their slots", rows, bars)
}

fn read(work: &Work, walk: fn(&Arena) -> u64) -> Result<Sample, Failure> {
    let arena = arena(work, |_| ())?;
    fill(&mut arena.writer(), work, 0..work.tokens)?;
    let begin = Instant::now();
    black_box(walk(&arena));
    let sample = sample(begin, work.tokens);
    check(work, "neurograph", || arena.iter().map(|(_, token)| token.to_words()).collect())?;
    Ok(sample)
}

// Out of line, like the other walks: the same registers for all.
#[inline(never)]
fn iterate(arena: &Arena) -> u64 {
    let mut sum = 0u64;
    for (_, token) in arena.iter() {
        sum = sum.wrapping_add(folded(&token.to_words()));
    }
    sum
}

#[inline(never)]
fn for_each(arena: &Arena) -> u64 {
    let mut sum = 0u64;
    arena.for_each_live(|_, token| sum = sum.wrapping_add(folded(&token.to_words())));
    sum
}

#[inline(never)]
fn scan(arena: &Arena) -> u64 {
    let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let sums = arena.scan(
        threads,
        || 0u64,
        |sum, _, token| *sum = sum.wrapping_add(folded(&token.to_words())),
    );
    sums.into_iter().fold(0, u64::wrapping_add)
}

fn floor(work: &Work) -> Result<Sample, Failure> {
    let mut mapping = mapping(work)?;
    fill_plain(mapping.tokens(), work.seed, 0);
    let begin = Instant::now();
    let sum = mapping.tokens().iter().fold(0u64, |sum, words| sum.wrapping_add(folded(words)));
    black_box(sum);
    Ok(sample(begin, work.tokens))
}

fn peer<P: Peer>(work: &Work) -> Result<Sample, Failure> {
    let mut peer = P::with_room(work.tokens as usize);
    for token in tokens::stream(work.seed, 0..work.tokens) {
        peer.insert(token.to_words());
    }
    let begin = Instant::now();
    let mut sum = 0u64;
    peer.each(|words| sum = sum.wrapping_add(folded(words)));
    black_box(sum);
    Ok(sample(begin, work.tokens))
}
