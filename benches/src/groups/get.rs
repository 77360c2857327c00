//! Group `get`: every token once by its id, in an order that no prefetcher guesses; all of its words are used.

use std::time::Instant;

use ng_core::{Arena, TokenId};

use crate::{
    peers::{Peer, peer_rows},
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject::{arena, fill, fill_plain, folded, mapping, sample, shuffled},
    tokens::{self, Words},
};

/// Ids asked for at once.
const MANY: usize = 1024;

pub(crate) fn group() -> Group {
    let ours = env!("CARGO_PKG_VERSION");
    let mut rows = vec![
        Row::new("neurograph", Kind::Ours, ours, |work: &Work| read(work, one_by_one)),
        Row::new("neurograph:many", Kind::Ours, ours, |work: &Work| read(work, many)),
        Row::new("floor:random_read", Kind::Floor, "", floor),
    ];
    rows.extend(peer_rows!(peer: Vec<crate::peers::Plain>;
        slab::Slab<crate::peers::Plain>,
        slotmap::SlotMap<slotmap::DefaultKey, crate::peers::Plain>,
        thunderdome::Arena<crate::peers::Plain>));
    let bar = |id, under, bar, goal| Bar {
        id,
        over: "slotmap+thp",
        under,
        side: Side::AtLeast,
        bar,
        goal: Some(goal),
    };
    let bars =
        vec![bar("get", "neurograph", 0.8, 1.0), bar("get:many", "neurograph:many", 1.3, 1.5)];
    Group::in_memory("get", "Read tokens by id, in random order", rows, bars)
}

fn read(work: &Work, how: fn(&Arena, &[TokenId]) -> Option<u64>) -> Result<Sample, Failure> {
    let arena = arena(work, |_| ())?;
    let ids = shuffled(work, &fill(&mut arena.writer(), work, 0..work.tokens)?);
    let begin = Instant::now();
    let sum = how(&arena, &ids);
    let sample = sample(begin, work.tokens);
    expect(work, "neurograph", sum)?;
    Ok(sample)
}

// Out of line, like each of the loops below: the same registers for all.
#[inline(never)]
fn one_by_one(arena: &Arena, ids: &[TokenId]) -> Option<u64> {
    let mut sum = 0u64;
    for id in ids {
        sum = sum.wrapping_add(folded(&arena.get(*id)?.to_words()));
    }
    Some(sum)
}

#[inline(never)]
fn many(arena: &Arena, ids: &[TokenId]) -> Option<u64> {
    let (mut sum, mut found) = (0u64, Vec::with_capacity(MANY));
    for ids in ids.chunks(MANY) {
        found.clear();
        arena.get_many(ids, &mut found);
        for token in &found {
            sum = sum.wrapping_add(folded(&token.as_ref()?.to_words()));
        }
    }
    Some(sum)
}

fn floor(work: &Work) -> Result<Sample, Failure> {
    let mut mapping = mapping(work)?;
    fill_plain(mapping.tokens(), work.seed, 0);
    let indices = shuffled(work, &(0..work.tokens as usize).collect::<Vec<_>>());
    let begin = Instant::now();
    let sum = plain(mapping.tokens(), &indices);
    let sample = sample(begin, work.tokens);
    expect(work, "floor:random_read", sum)?;
    Ok(sample)
}

#[inline(never)]
fn plain(slots: &[Words], indices: &[usize]) -> Option<u64> {
    let mut sum = 0u64;
    for index in indices {
        sum = sum.wrapping_add(folded(slots.get(*index)?));
    }
    Some(sum)
}

fn peer<P: Peer>(work: &Work) -> Result<Sample, Failure> {
    let mut peer = P::with_room(work.tokens as usize);
    let stream = tokens::stream(work.seed, 0..work.tokens);
    let keys: Vec<_> = stream.map(|token| peer.insert(token.to_words())).collect();
    let keys = shuffled(work, &keys);
    let begin = Instant::now();
    let sum = read_peer(&peer, &keys);
    let sample = sample(begin, work.tokens);
    expect(work, P::NAME, sum)?;
    Ok(sample)
}

#[inline(never)]
fn read_peer<P: Peer>(peer: &P, keys: &[P::Key]) -> Option<u64> {
    let mut sum = 0u64;
    for key in keys {
        sum = sum.wrapping_add(peer.read(*key, folded)?);
    }
    Some(sum)
}

fn expect(work: &Work, name: &str, sum: Option<u64>) -> Result<(), Failure> {
    let stream = tokens::stream(work.seed, 0..work.tokens);
    let wanted = || stream.fold(0u64, |sum, token| sum.wrapping_add(folded(&token.to_words())));
    match sum {
        None => Err(Failure::Check(format!("{name} lost a token"))),
        Some(sum) if work.verify && sum != wanted() => {
            Err(Failure::Check(format!("{name} read other words than were written")))
        }
        Some(_) => Ok(()),
    }
}
