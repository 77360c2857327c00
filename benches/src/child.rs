//! Rows that need another allocator setting run in one child process, which measures a round whenever its parent asks:
//! so they are interleaved with all the others. The setting, glibc's huge-page tunable, can only be given at start.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{
    console,
    row::{Failure, Group, Sample, Work},
};

/// Whether this libc's heap can be told to ask for huge pages.
pub(crate) const HUGE_HEAP: bool = cfg!(all(target_os = "linux", target_env = "gnu"));

/// A child at the other end of two pipes. Ends with its parent, since its stdin then ends.
pub(crate) struct HugeHeap {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl HugeHeap {
    pub(crate) fn start(work: &Work) -> Result<HugeHeap, Failure> {
        let mut child = env::current_exe()
            .and_then(|program| {
                Command::new(program)
                    .arg("--serve-rows")
                    .arg(format!("--tokens={}", work.tokens))
                    .arg(format!("--seed={}", work.seed))
                    .arg(format!("--churn-operations={}", work.churn))
                    .env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
            })
            .map_err(lost)?;
        let (Some(asks), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(lost(io::Error::other("no pipe")));
        };
        Ok(HugeHeap { child, asks, answers: BufReader::new(answers) })
    }

    pub(crate) fn measure(
        &mut self,
        group: &str,
        row: &str,
        verify: bool,
    ) -> Result<Sample, Failure> {
        writeln!(self.asks, "{group} {row} {verify}").map_err(lost)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(lost)?;
        parse(answer.trim())
    }
}

impl Drop for HugeHeap {
    fn drop(&mut self) {
        // Between rounds it waits for stdin and holds nothing; gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lost(error: io::Error) -> Failure {
    Failure::Environment(format!("the process for huge-page heaps is lost: {error}"))
}

fn parse(answer: &str) -> Result<Sample, Failure> {
    let numbers = answer.split_once(' ').and_then(|(elapsed, operations)| {
        Some(Sample { elapsed_ns: elapsed.parse().ok()?, operations: operations.parse().ok()? })
    });
    numbers.ok_or_else(|| {
        let said = if answer.is_empty() { "nothing" } else { answer };
        Failure::Check(format!("the process for huge-page heaps said {said}"))
    })
}

/// The child's side: answers each line `group row verify` with `nanoseconds operations`, or with what went wrong.
pub(crate) fn serve(mut groups: Vec<Group>, work: Work) -> Result<(), Failure> {
    for line in io::stdin().lock().lines() {
        let line = line.map_err(lost)?;
        let mut words = line.split(' ');
        let (group, row) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let work = Work { verify: words.next() == Some("true"), ..work };
        let found = groups
            .iter_mut()
            .filter(|g| g.id == group)
            .flat_map(|g| &mut g.rows)
            .find(|r| r.name == row)
            .ok_or_else(|| Failure::Input(format!("no row {row} in group {group}")));
        match found.and_then(|row| (row.measure)(&work)) {
            Ok(sample) => answer(&format!("{} {}", sample.elapsed_ns, sample.operations)),
            Err(failure) => answer(&failure.to_string()),
        }?;
    }
    Ok(())
}

fn answer(line: &str) -> Result<(), Failure> {
    console::print(format_args!("{line}\n")).map_err(Failure::Stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_two_numbers_and_anything_else_is_told() {
        let sample = parse("12 3").unwrap();
        assert_eq!(sample, Sample { elapsed_ns: 12, operations: 3 });
        for bad in ["", "12", "a token is missing"] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 1, "{bad}");
        }
    }
}
