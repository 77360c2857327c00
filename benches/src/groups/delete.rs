//! Group `delete`: every token by its id, in random order, until the store is empty.

use std::time::Instant;

use crate::{
    peers::{Peer, peer_rows},
    row::{Failure, Group, Kind, Row, Sample, Work},
    subject::{arena, fill, sample, shuffled},
    tokens,
};

pub(crate) fn group() -> Group {
    let mut rows = vec![Row::new("neurograph", Kind::Ours, env!("CARGO_PKG_VERSION"), ours)];
    rows.extend(peer_rows!(peer: ;
        slab::Slab<crate::peers::Plain>,
        slotmap::SlotMap<slotmap::DefaultKey, crate::peers::Plain>,
        thunderdome::Arena<crate::peers::Plain>));
    Group::in_memory("delete", "Delete tokens by id, in random order", rows, vec![])
}

fn ours(work: &Work) -> Result<Sample, Failure> {
    let arena = arena(work, |_| ())?;
    let mut writer = arena.writer();
    let ids = fill(&mut writer, work, 0..work.tokens)?;
    let ids = shuffled(work, &ids);
    let begin = Instant::now();
    for id in &ids {
        writer.delete(*id).map_err(|error| Failure::Check(error.to_string()))?;
    }
    let sample = sample(begin, work.tokens);
    if !arena.is_empty() || arena.iter().next().is_some() {
        return Err(Failure::Check("neurograph is not empty after all deletes".into()));
    }
    Ok(sample)
}

// Without the feature there is no peer that can remove.
#[cfg_attr(not(feature = "peers"), allow(dead_code))]
fn peer<P: Peer>(work: &Work) -> Result<Sample, Failure> {
    let mut peer = P::with_room(work.tokens as usize);
    let stream = tokens::stream(work.seed, 0..work.tokens);
    let keys: Vec<_> = stream.map(|token| peer.insert(token.to_words())).collect();
    let keys = shuffled(work, &keys);
    let begin = Instant::now();
    let gone = keys.iter().filter(|key| peer.remove(**key)).count();
    let sample = sample(begin, work.tokens);
    if gone as u64 != work.tokens {
        return Err(Failure::Check(format!("{} lost a token", P::NAME)));
    }
    Ok(sample)
}
