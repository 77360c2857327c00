//! A full disk: a small file system of its own, a ballast that fills it, a writer that meets its end. Nothing that was
//! promised is lost, the writer goes on when the ballast is gone, and a log on a full disk can still be opened and read.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    Counts, Outcome, Torture,
    child::{Found, Running, Said},
    oracle::Oracle,
};

const DISK_BYTES: u64 = 8 << 20;
/// Left to the log while the ballast is there.
const ROOM_BYTES: u64 = 3 << 20;
/// How long the writer may take to fill that, and to go on afterwards.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mounted file system that goes away with this.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// `None`: mounting is not allowed here.
    fn tmpfs(at: PathBuf) -> Option<Self> {
        let size = format!("size={DISK_BYTES}");
        mounted(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]), at)
    }

    /// Ext4 in a file: what is written there has extents, as on a real disk. Without a journal's megabytes.
    fn ext4(at: PathBuf, image: &Path) -> Option<Self> {
        File::create(image).and_then(|file| file.set_len(2 * DISK_BYTES)).ok()?;
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-O", "^has_journal", "-m", "0"]).arg(image);
        quietly(&mut make)?;
        mounted(Command::new("mount").args(["-o", "loop"]).arg(image), at)
    }
}

fn mounted(mount: &mut Command, at: PathBuf) -> Option<Disk> {
    fs::create_dir_all(&at).ok()?;
    quietly(mount.arg(&at))?;
    Some(Disk { at })
}

fn quietly(command: &mut Command) -> Option<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success()).then_some(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that has just been reaped may keep it busy for a moment.
        for _ in 0..50 {
            if quietly(Command::new("umount").arg(&self.at)).is_some() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Step: on a tmpfs, and on an ext4 in a file where loop devices can be had.
pub(super) fn run(torture: &Torture) -> (Outcome, Counts) {
    let (mut oracle, mut disks) = (Oracle::default(), 0);
    let result = both(torture, &mut oracle, &mut disks);
    let mut counts = oracle.tally.counts();
    counts.0.insert(0, ("disks", disks));
    let outcome = match result {
        Err(reason) => Outcome::Failed(reason),
        Ok(()) if disks == 0 => {
            return (Outcome::Lacking("root's right to mount a tmpfs".into()), Counts::default());
        }
        Ok(()) => Outcome::Passed(String::new()),
    };
    (outcome, counts)
}

fn both(torture: &Torture, oracle: &mut Oracle, disks: &mut u64) -> Result<(), String> {
    let program = torture.program()?;
    for name in ["tmpfs", "ext4"] {
        // Left by a run that was killed; mostly there is none.
        quietly(Command::new("umount").arg(program.place("space").join(name)));
    }
    let dir = program.fresh("space")?;
    let tmpfs = Disk::tmpfs(dir.join("tmpfs"));
    let ext4 = Disk::ext4(dir.join("ext4"), &dir.join("ext4.image"));
    for (name, disk) in [("tmpfs", tmpfs), ("ext4", ext4)] {
        let Some(disk) = disk else { continue };
        *disks += 1;
        *oracle = oracle.renewed();
        fills_up(torture, &disk.at, oracle).map_err(|reason| format!("{name}: {reason}"))?;
    }
    Ok(())
}

fn fills_up(torture: &Torture, disk: &Path, oracle: &mut Oracle) -> Result<(), String> {
    let program = torture.program()?;
    let (log, ballast) = (disk.join("log"), disk.join("ballast"));
    // Given back at the very end, when the log may have taken all the rest.
    let reserve = disk.join("reserve");
    fs::write(&reserve, vec![0x55; 256 << 10]).map_err(|error| format!("reserve: {error}"))?;
    let look = |seal| -> Result<Found, String> { program.verify(&log, torture.seed, seal) };
    fill(&ballast, ROOM_BYTES)?;
    // All is kept: the writer meets the end of the disk, not its own retirement.
    let words = ["run=1", "producers=2", "keep=100000000", "patience=1000000"];
    let words = program.writer(&log, torture.seed, &words);
    let writer = Running::start(&words)?;
    writer.until(PATIENCE, |text| text.contains("\nX\n"))?;
    let refused = writer.heard();
    fs::remove_file(&ballast).map_err(|error| format!("cannot remove the ballast: {error}"))?;
    let promised = |text: &str| Said::parse(text).durable;
    let before = promised(&refused);
    writer.until(PATIENCE, |text| promised(text) > before)?;
    // Filled to the last byte while it writes, and killed so.
    fill(&ballast, 0)?;
    let again = writer.heard().len();
    writer.until(PATIENCE, |text| text.get(again..).is_some_and(|text| text.contains("X\n")))?;
    let (text, _) = writer.killed_after(Duration::from_millis(5))?;
    let said = Said::parse(&text);
    super::kill::alive_until_killed(&said)?;
    oracle.judge(1, &said, &look(false)?)?;
    fs::remove_file(&reserve).map_err(|error| format!("cannot remove the reserve: {error}"))?;
    oracle.judge(2, &Said::default(), &look(true)?)
}

/// Takes all of the disk but `left` bytes.
fn fill(ballast: &Path, left: u64) -> Result<(), String> {
    let told = |error| format!("cannot write {}: {error}", ballast.display());
    let mut file = File::create(ballast).map_err(told)?;
    let block = [0x55; 4096];
    let mut taken = 0;
    let begin = Instant::now();
    while file.write_all(&block).is_ok() {
        taken += block.len() as u64;
        if begin.elapsed() > PATIENCE {
            return Err("the disk does not fill up".into());
        }
    }
    file.set_len(taken.saturating_sub(left)).map_err(told)?;
    file.sync_all().map_err(told)
}
