//! From a trace to the directories that a crash can leave: a walk over the boundaries between
//! operations, and at each a list of choices of what reached the disk.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use super::state::{
    BLOCK, Change, Content, Dir, EntryOp, Event, Inode, Names, Pending, SECTOR, State,
};
use crate::sync::Arc;

/// All that was done to a disk, in order, with the state it began with.
#[derive(Clone)]
pub struct Trace {
    initial: State,
    events: Arc<[Event]>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.events.iter()).finish()
    }
}

impl Trace {
    pub(crate) fn new(initial: State, events: Vec<Event>) -> Self {
        Self { initial, events: events.into() }
    }

    /// Events in it; there are that many boundaries and one more.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// At the boundary before the first operation.
    pub fn walk(&self) -> Walk {
        Walk { state: self.initial.clone(), trace: self.clone(), boundary: 0 }
    }
}

/// A moment between two operations of a trace.
#[derive(Clone)]
pub struct Walk {
    state: State,
    trace: Trace,
    boundary: usize,
}

/// An operation that a walk passed.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Step {
    /// Label and value, if it was a mark.
    pub mark: Option<(u64, u64)>,
    /// A process was killed here.
    pub killed: bool,
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("boundary", &self.boundary).finish_non_exhaustive()
    }
}

impl Walk {
    /// Operations passed so far.
    pub fn boundary(&self) -> usize {
        self.boundary
    }

    /// Whether the last operation passed was one of the disk, and no mark: else the images are
    /// those of the boundary before.
    pub fn is_new(&self) -> bool {
        let last = self.boundary.checked_sub(1).map(|last| &self.trace.events[last]);
        !matches!(last, Some(Event::Mark { .. } | Event::Killed))
    }

    /// The last operation passed, in words.
    pub fn after(&self) -> String {
        let last = self.boundary.checked_sub(1).map(|last| &self.trace.events[last]);
        let dir = |dir: &usize| self.state.dirs[*dir].0.clone();
        match last {
            None => "nothing".into(),
            Some(Event::Create { name, .. }) => format!("create of {name}"),
            Some(Event::Write { inode, offset, bytes }) => {
                format!("write of {} bytes at {offset} of {}", bytes.len(), self.name(*inode))
            }
            Some(Event::SetLen { inode, len }) => {
                format!("length {len} of {}", self.name(*inode))
            }
            Some(Event::Entry { op, .. }) => format!("{op:?}"),
            Some(Event::SyncBegin { inode }) => {
                format!("begin of fdatasync of {}", self.name(*inode))
            }
            Some(Event::SyncEnd { inode, .. }) => format!("fdatasync of {}", self.name(*inode)),
            Some(Event::SyncFailed { inode, .. }) => {
                format!("failed fdatasync of {}", self.name(*inode))
            }
            Some(Event::DirSyncBegin { dir: d }) => format!("begin of fsync of {}", dir(d)),
            Some(Event::DirSyncEnd { dir: d, .. }) => format!("fsync of {}", dir(d)),
            Some(Event::DirSyncFailed { dir: d }) => format!("failed fsync of {}", dir(d)),
            Some(Event::Killed) => "kill of the process".into(),
            Some(Event::Mark { label, value }) => format!("mark {label} {value}"),
        }
    }

    fn name(&self, inode: usize) -> String {
        let dirs = self.state.dirs.iter();
        let mut names = dirs.flat_map(|(_, dir)| &dir.cache);
        let name = names.find(|(_, linked)| **linked == inode);
        name.map_or_else(|| format!("an unlinked file {inode}"), |(name, _)| name.to_string())
    }

    /// Passes one operation; `None` at the end.
    pub fn step(&mut self) -> Option<Step> {
        let event = self.trace.events.get(self.boundary)?;
        self.state.apply(event);
        self.boundary += 1;
        let mark = match event {
            Event::Mark { label, value } => Some((*label, *value)),
            _ => None,
        };
        Some(Step { mark, killed: matches!(event, Event::Killed) })
    }

    /// What a crash here can leave. The same plan gives the same images in the same order.
    pub fn images(&self, plan: &CrashPlan) -> impl Iterator<Item = Crash> + use<> {
        let pending = Unsettled::of(&self.state);
        let mut choices = choices(&pending, plan);
        let cuts = self.cut_writes();
        let cut = |cut| Choice {
            kind: CrashKind::Process,
            keep: Keep::Cut(cut),
            names: Keep::All,
            torn: None,
        };
        choices.splice(1..1, (0..cuts.len()).map(cut));
        let chosen = choose(choices.len(), plan.images_max, plan.seed ^ self.boundary as u64);
        let (state, boundary) = (self.state.clone(), self.boundary);
        chosen.into_iter().filter_map(move |index| {
            let choice = &choices[index];
            let image = match choice.keep {
                Keep::Cut(cut) => {
                    let mut state = state.clone();
                    state.apply(&cuts[cut]);
                    Image::of_cache(&state)
                }
                _ if choice.kind == CrashKind::Process => Image::of_cache(&state),
                _ => build(&state, &pending, choice)?,
            };
            let lost = pending.is_lossy(choice);
            Some(Crash { boundary, index, kind: choice.kind, lost, image })
        })
    }

    /// A process may die in the middle of its next write, at the end of any page.
    fn cut_writes(&self) -> Vec<Event> {
        let Some(Event::Write { inode, offset, bytes }) = self.trace.events.get(self.boundary)
        else {
            return Vec::new();
        };
        let end = offset + bytes.len() as u64;
        let pages = (offset / BLOCK as u64 + 1..).map(|page| page * BLOCK as u64);
        pages
            .take_while(|page| *page < end)
            .map(|page| Event::Write {
                inode: *inode,
                offset: *offset,
                bytes: bytes.slice(..(page - offset) as usize),
            })
            .collect()
    }
}

/// Which crash images to make at a boundary.
#[derive(Clone, Debug)]
pub struct CrashPlan {
    /// At most this many, chosen by `seed` from all that there are; the first three (the process
    /// alone, nothing lost, all lost) are always among them. Default: 400.
    pub images_max: usize,
    /// Chooses among subsets that are too many to try. Default: 0.
    pub seed: u64,
}

impl Default for CrashPlan {
    fn default() -> Self {
        Self { images_max: 400, seed: 0 }
    }
}

/// What kind of crash left an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrashKind {
    /// The process alone died; what it had written is there.
    Process,
    /// Power failed, and by chance everything had been written back.
    Nothing,
    /// Everything that no sync covered is lost.
    Everything,
    /// What was written first was kept.
    Prefix,
    /// One sector (or length) was lost.
    DropOne,
    /// One was kept.
    KeepOne,
    /// Two were lost, or two kept.
    Pair,
    /// One of all subsets was kept.
    Subset,
    /// A random subset was kept.
    Random,
    /// A sector, or the block around it, holds zeroes or garbage.
    Torn,
    /// Some names were lost and others kept.
    Names,
}

/// One crash, and what it left.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Operations before it.
    pub boundary: usize,
    /// Its number among the boundary's images.
    pub index: usize,
    /// Which kind.
    pub kind: CrashKind,
    /// Whether something that was written and not synced is lost or torn.
    pub lost: bool,
    /// The disk after it.
    pub image: Image,
}

impl Crash {
    /// Boundary, number and kind, for messages.
    pub fn name(&self) -> String {
        format!("image {}:{} ({:?})", self.boundary, self.index, self.kind)
    }
}

type Files = BTreeMap<Arc<str>, Content>;

/// Contents of a disk at rest. Cheap to clone.
#[derive(Clone, Default)]
pub struct Image {
    dirs: Vec<(Arc<str>, Files)>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.dirs.iter().flat_map(|(dir, files)| {
            files.iter().map(move |(name, content)| (format!("{dir}/{name}"), content.len()))
        });
        f.debug_map().entries(files).finish()
    }
}

impl Image {
    pub(crate) fn of_cache(state: &State) -> Self {
        let content = |inode: usize| state.inodes[inode].cache.clone();
        Self::with(state, |dir| dir.cache.clone(), content)
    }

    fn with(
        state: &State,
        names: impl Fn(&Dir) -> Names,
        content: impl Fn(usize) -> Content,
    ) -> Self {
        let dirs = state.dirs.iter().map(|(name, dir)| {
            let files = names(dir).into_iter().map(|(name, inode)| (name, content(inode)));
            (name.clone(), files.collect())
        });
        Self { dirs: dirs.collect() }
    }

    pub(crate) fn to_state(&self) -> State {
        let mut state = State::default();
        for (dir, files) in &self.dirs {
            let mut names = Names::new();
            for (name, content) in files {
                names.insert(name.clone(), state.inodes.len());
                let (cache, durable) = (content.clone(), content.clone());
                state.inodes.push(Inode { cache, durable, pending: Vec::new() });
            }
            let dir_state = Dir { cache: names.clone(), durable: names, pending: Vec::new() };
            state.dirs.push((dir.clone(), dir_state));
        }
        state
    }

    /// Two images with the same digest hold the same files with the same bytes.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (dir, files) in &self.dirs {
            hasher.write(dir.as_bytes());
            for (name, content) in files {
                hasher.write(name.as_bytes());
                content.digest(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// Names in a directory.
    pub fn names(&self, dir: &str) -> Vec<String> {
        let files = self.files(dir);
        files.map(|files| files.keys().map(|name| name.to_string()).collect()).unwrap_or_default()
    }

    /// Bytes of a file.
    pub fn read(&self, dir: &str, name: &str) -> Option<Vec<u8>> {
        let content = self.files(dir)?.get(name)?;
        let mut bytes = vec![0; content.len() as usize];
        content.read(&mut bytes, 0);
        Some(bytes)
    }

    /// Puts a file there, in place of one of that name.
    pub fn put(&mut self, dir: &str, name: &str, bytes: &[u8]) {
        let mut content = Content::default();
        content.write(bytes, 0);
        if self.files(dir).is_none() {
            self.dirs.push((dir.into(), Files::new()));
        }
        if let Some((_, files)) = self.dirs.iter_mut().find(|(name, _)| **name == *dir) {
            files.insert(name.into(), content);
        }
    }

    /// Removes a name.
    pub fn remove(&mut self, dir: &str, name: &str) {
        if let Some((_, files)) = self.dirs.iter_mut().find(|(known, _)| **known == *dir) {
            files.remove(name);
        }
    }

    fn files(&self, dir: &str) -> Option<&Files> {
        self.dirs.iter().find(|(name, _)| **name == *dir).map(|(_, files)| files)
    }
}

/// What is on its way to the disk at one moment, in the order of writing.
struct Unsettled {
    /// Inode and index among its pending changes.
    changes: Vec<(usize, usize)>,
    /// Directory and index among its pending entries.
    entries: Vec<(usize, usize)>,
}

impl Unsettled {
    fn of(state: &State) -> Self {
        let mut linked = vec![false; state.inodes.len()];
        for (_, dir) in &state.dirs {
            for inode in dir.cache.values().chain(dir.durable.values()) {
                linked[*inode] = true;
            }
            for (_, op) in &dir.pending {
                if let EntryOp::Link { inode, .. } | EntryOp::Rename { inode, .. } = op {
                    linked[*inode] = true;
                }
            }
        }
        let mut changes: Vec<_> = (0..state.inodes.len())
            .filter(|inode| linked[*inode])
            .flat_map(|i| (0..state.inodes[i].pending.len()).map(move |change| (i, change)))
            .collect();
        changes.sort_by_key(|(i, change)| (state.inodes[*i].pending[*change].at, *i, *change));
        let mut entries: Vec<_> = (0..state.dirs.len())
            .flat_map(|d| (0..state.dirs[d].1.pending.len()).map(move |entry| (d, entry)))
            .collect();
        entries.sort_by_key(|(d, entry)| state.dirs[*d].1.pending[*entry].0);
        Self { changes, entries }
    }

    fn is_lossy(&self, choice: &Choice) -> bool {
        choice.kind != CrashKind::Process
            && (choice.torn.is_some()
                || !(0..self.changes.len()).all(|i| choice.keep.keeps(i))
                || !(0..self.entries.len()).all(|i| choice.names.keeps(i)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Keep {
    All,
    Prefix(usize),
    /// All but these two (or one).
    But(usize, usize),
    Only(usize, usize),
    Bits(Vec<u64>),
    /// No power loss, but a write cut short.
    Cut(usize),
}

impl Keep {
    const NONE: Keep = Keep::Prefix(0);

    fn keeps(&self, i: usize) -> bool {
        match self {
            Keep::All | Keep::Cut(_) => true,
            Keep::Prefix(n) => i < *n,
            Keep::But(a, b) => i != *a && i != *b,
            Keep::Only(a, b) => i == *a || i == *b,
            Keep::Bits(bits) => bits.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Torn {
    /// Which of the unsettled changes.
    change: usize,
    garbage: bool,
    /// The whole block, not the sector alone.
    block: bool,
}

#[derive(Clone, Debug)]
struct Choice {
    kind: CrashKind,
    keep: Keep,
    names: Keep,
    torn: Option<Torn>,
}

/// Every choice of what reaches the disk, in an order that depends on their number alone.
fn choices(unsettled: &Unsettled, plan: &CrashPlan) -> Vec<Choice> {
    let (k, d) = (unsettled.changes.len(), unsettled.entries.len());
    let mut all = Vec::new();
    let mut add = |kind, keep: Keep, names: Keep, torn| {
        all.push(Choice { kind, keep, names, torn });
    };
    add(CrashKind::Process, Keep::All, Keep::All, None);
    add(CrashKind::Nothing, Keep::All, Keep::All, None);
    add(CrashKind::Everything, Keep::NONE, Keep::NONE, None);
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    if d > 0 {
        let subsets: Vec<Keep> = if d <= 6 {
            (0..1u64 << d).map(|bits| Keep::Bits(vec![bits])).collect()
        } else {
            let drops = (0..d).map(|i| Keep::But(i, i));
            let randoms = (0..16).map(|_| random_bits(&mut rng, d));
            (0..d).map(Keep::Prefix).chain(drops).chain(randoms).collect()
        };
        for names in subsets {
            add(CrashKind::Names, Keep::All, names.clone(), None);
            add(CrashKind::Names, Keep::NONE, names, None);
        }
    }
    let mut data = Vec::new();
    data.extend((1..k).map(|n| (CrashKind::Prefix, Keep::Prefix(n))));
    data.extend((0..k).map(|i| (CrashKind::DropOne, Keep::But(i, i))));
    data.extend((0..k).map(|i| (CrashKind::KeepOne, Keep::Only(i, i))));
    if k > 2 && k <= 10 {
        data.extend((1..1u64 << k).map(|bits| (CrashKind::Subset, Keep::Bits(vec![bits]))));
    } else if k > 10 {
        if k <= 16 {
            for (i, j) in (0..k).flat_map(|i| (0..i).map(move |j| (i, j))) {
                data.push((CrashKind::Pair, Keep::But(i, j)));
                data.push((CrashKind::Pair, Keep::Only(i, j)));
            }
        }
        data.extend((0..64).map(|_| (CrashKind::Random, random_bits(&mut rng, k))));
    }
    for (kind, keep) in data {
        if d > 0 {
            add(kind, keep.clone(), Keep::NONE, None);
        }
        add(kind, keep, Keep::All, None);
    }
    for change in 0..k {
        for (garbage, block) in [(false, false), (true, false), (false, true), (true, true)] {
            let torn = Some(Torn { change, garbage, block });
            add(CrashKind::Torn, Keep::Prefix(change), Keep::All, torn);
            add(CrashKind::Torn, Keep::But(change, change), Keep::All, torn);
        }
    }
    all
}

fn random_bits(rng: &mut fastrand::Rng, n: usize) -> Keep {
    Keep::Bits((0..n.div_ceil(64)).map(|_| rng.u64(..)).collect())
}

/// `most` of `0..n` by `seed`, the first three among them, in order.
fn choose(n: usize, most: usize, seed: u64) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    let always = 3.min(most);
    let mut rest: Vec<usize> = (always..n).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut rest);
    rest.truncate(most - always);
    rest.sort_unstable();
    (0..always).chain(rest).collect()
}

/// The disk after a loss of power; `None` if the torn write changes nothing that could tear.
fn build(state: &State, unsettled: &Unsettled, choice: &Choice) -> Option<Image> {
    let mut contents: BTreeMap<usize, Content> = BTreeMap::new();
    let durable = |inode: usize| state.inodes[inode].durable.clone();
    for (i, (inode, change)) in unsettled.changes.iter().enumerate() {
        if choice.keep.keeps(i) {
            let content = contents.entry(*inode).or_insert_with(|| durable(*inode));
            state.inodes[*inode].pending[*change].change.apply(content);
        }
    }
    if let Some(torn) = choice.torn {
        let (inode, change) = unsettled.changes[torn.change];
        let content = contents.entry(inode).or_insert_with(|| durable(inode));
        tear(content, &state.inodes[inode], &state.inodes[inode].pending[change], torn)?;
    }
    let names = |dir: usize| {
        let mut names = state.dirs[dir].1.durable.clone();
        for (i, (d, entry)) in unsettled.entries.iter().enumerate() {
            if *d == dir && choice.names.keeps(i) {
                state.dirs[dir].1.pending[*entry].1.apply(&mut names);
            }
        }
        names
    };
    let dirs = state.dirs.iter().enumerate().map(|(d, (name, _))| {
        let files = names(d).into_iter().map(|(name, inode)| {
            (name, contents.get(&inode).cloned().unwrap_or_else(|| durable(inode)))
        });
        (name.clone(), files.collect())
    });
    Some(Image { dirs: dirs.collect() })
}

fn tear(content: &mut Content, inode: &Inode, pending: &Pending, torn: Torn) -> Option<()> {
    let Change::Sector { sector, bytes, len } = &pending.change else { return None };
    // Old and new agree, whatever the disk mixes of them. Writing the unproven tail again, as an
    // open does, relies on it.
    if inode.durable.sector(*sector)[..] == bytes[..] {
        return None;
    }
    let offset = sector * SECTOR as u64;
    let unit = if torn.block { BLOCK } else { SECTOR };
    let from = offset - offset % unit as u64;
    content.grow((offset + SECTOR as u64).min(*len));
    let mut fill = vec![0; unit];
    if torn.garbage {
        fastrand::Rng::with_seed(pending.at as u64 ^ offset).fill(&mut fill);
    }
    let room = content.len().saturating_sub(from).min(unit as u64) as usize;
    content.write(&fill[..room], from);
    Some(())
}
