//! The fuzzer's body over its stored corpus and a bounded number of random inputs. `NG_SEED`
//! repeats a run.

mod bodies;

use std::path::Path;

const RANDOM_INPUTS: usize = 1_500;

/// The stored inputs of one target. A package alone, outside the repository, has none.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[allow(clippy::print_stdout)] // a seed, shown when the test fails
fn feed(target: &str, body: fn(&[u8])) {
    let seed = std::env::var("NG_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("NG_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let corpus = corpus(target);
    corpus.iter().for_each(|input| body(input));
    for _ in 0..RANDOM_INPUTS {
        let mut input = match corpus.is_empty() || rng.bool() {
            true => Vec::new(),
            false => corpus[rng.usize(..corpus.len())].clone(),
        };
        let mut more = vec![0; rng.usize(..200)];
        rng.fill(&mut more);
        input.extend(more);
        for _ in 0..rng.usize(..4) {
            let at = rng.usize(..input.len().max(1));
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
        body(&input);
    }
}

#[test]
fn no_bytes_make_the_reader_panic_or_show_what_was_not_recorded() {
    feed("recording", bodies::recording);
}
