//! Ctrl-C leaves no child and no data of ours, and does not touch what lay beside it.

mod command;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use command::Place;
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(120);

/// A started program and the lines of its stderr.
struct Running {
    child: Child,
    notices: Receiver<String>,
}

impl Running {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut child = place
            .command(args)
            .arg("--notices")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (tell, notices) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, notices }
    }

    /// The rest of the first notice that begins with `words`.
    fn wait_for(&self, words: &str) -> String {
        loop {
            let line = self.notices.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|e| panic!("no {words:?} on stderr: {e}"));
            if let Some(rest) = line.strip_prefix("ng-stress: ").and_then(|l| l.strip_prefix(words))
            {
                return rest.trim().to_owned();
            }
        }
    }

    fn interrupt(&mut self) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("it runs");
        self.child.wait().expect("it ends").code()
    }
}

fn place_with_neighbours() -> Place {
    let place = Place::new();
    let lookalike = place.data().join("neurograph-stress-1-0123456789abcdef");
    std::fs::create_dir_all(&lookalike).expect("made");
    std::fs::write(lookalike.join("precious"), "keep").expect("written");
    std::fs::write(place.data().join("neighbour"), "keep").expect("written");
    place
}

fn only_neighbours_are_left(place: &Place) {
    let left: Vec<String> =
        place.left_behind().iter().map(|path| path.display().to_string()).collect();
    let lookalike = "data/neurograph-stress-1-0123456789abcdef";
    let precious = format!("{lookalike}/precious");
    assert_eq!(left, ["data", "data/neighbour", lookalike, &precious]);
    for file in ["data/neighbour", &precious] {
        let text = std::fs::read_to_string(place.root().join(file)).expect("still there");
        assert_eq!(text, "keep");
    }
}

#[test]
fn ctrl_c_in_the_full_phase_removes_what_is_ours_and_nothing_else() {
    let place = place_with_neighbours();
    let mut running = Running::start(&place, &["--tokens", "100000", "--phase", "full"]);
    running.wait_for("full pairs");
    assert_eq!(running.interrupt(), Some(130));
    assert_eq!(running.wait_for("interrupted"), "");
    only_neighbours_are_left(&place);
}

#[test]
fn ctrl_c_in_the_recovery_phase_ends_the_child_too() {
    let place = place_with_neighbours();
    let mut running = Running::start(&place, &["--tokens", "9500000", "--phase", "recovery"]);
    let child = running.wait_for("child");
    running.wait_for("something is durable");
    assert_eq!(running.interrupt(), Some(130));
    let child: i32 = child.parse().expect("a process id");
    let child = Pid::from_raw(child).expect("not zero");
    let alive = rustix::process::test_kill_process(child);
    assert_eq!(alive, Err(rustix::io::Errno::SRCH), "the child is gone and reaped");
    only_neighbours_are_left(&place);
}

#[test]
fn termination_is_cleaned_up_after_like_ctrl_c() {
    let place = place_with_neighbours();
    let mut running = Running::start(&place, &["--tokens", "100000", "--phase", "full"]);
    running.wait_for("phase full");
    kill_process(Pid::from_child(&running.child), Signal::TERM).expect("it runs");
    assert_eq!(running.child.wait().expect("it ends").code(), Some(130));
    only_neighbours_are_left(&place);
}
