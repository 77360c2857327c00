//! `cargo xtask pages`: the pages of the suite and of the benches in a real browser, with axe. Small runs make them; what
//! they measure does not matter here. Where `CI=true` it fetches Chromium and two npm packages; elsewhere it says how.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    exit::Exit,
    workspace::{self, Workspace},
};

/// What drives the browser, and what reads the page in it.
const NPM_PACKAGES: [&str; 2] = ["playwright-core@1.65.1", "axe-core@4.14.1"];
const DEBIAN_PACKAGES: [&str; 3] = ["chromium", "nodejs", "npm"];
const SCRIPT: &str = include_str!("../outside/pages.js");

/// The runs that make the pages: a package, its arguments, the page's name.
const RUNS: [(&str, &str, &str); 4] = [
    ("ng-stress", "--tokens 20000 --runs 3", "report.html"),
    ("ng-stress", "--tokens 20000 --runs 1 --phase tracing", "report.html"),
    ("ng-stress", "--tokens 20000 --scenario soak --soak 3000", "report.html"),
    ("benches", "--tokens 1000 --quick --group create", "index.html"),
];

/// The command.
pub(crate) fn run() -> Exit {
    let folder = match Workspace::load() {
        Ok(workspace) => workspace.target_dir.join("pages"),
        Err(reason) => {
            eprintln!("xtask pages: {reason}");
            return Exit::Environment;
        }
    };
    let in_ci = env::var("CI").is_ok_and(|value| value == "true");
    if lacking(&folder).is_some() && in_ci {
        fetch(&folder);
    }
    if let Some(remedy) = lacking(&folder) {
        eprintln!("xtask pages: something is missing here: {remedy}");
        return Exit::Environment;
    }
    match made(&folder) {
        Ok(pages) => look(&folder, &pages),
        Err(reason) => {
            eprintln!("xtask pages: {reason}");
            Exit::Failed
        }
    }
}

/// What would bring what is missing; `None` if all is there.
pub(crate) fn lacking(folder: &Path) -> Option<String> {
    let has_packages = NPM_PACKAGES.iter().all(|package| {
        let name = package.split('@').next().unwrap_or(package);
        folder.join("node_modules").join(name).is_dir()
    });
    let mut missing = Vec::new();
    if !answers("node") || !browser_answers() {
        missing.push(format!("apt-get install {}", DEBIAN_PACKAGES.join(" ")));
    }
    if !has_packages {
        missing.push(npm_line(folder));
    }
    (!missing.is_empty()).then(|| missing.join(" && "))
}

fn npm_line(folder: &Path) -> String {
    format!("npm install --prefix {} {}", folder.display(), NPM_PACKAGES.join(" "))
}

fn browser_answers() -> bool {
    answers(&env::var("NG_CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned()))
}

fn answers(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What is missing afterwards is told by the caller.
fn fetch(folder: &Path) {
    let quietly = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !answers("node") || !answers("npm") || !browser_answers() {
        // The lists may be missing or old.
        let _updated = quietly("apt-get", &["update", "-qq"]);
        let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
        install.extend(DEBIAN_PACKAGES.iter().filter(|name| {
            !answers(match **name {
                "nodejs" => "node",
                name => name,
            })
        }));
        let _installed = quietly("apt-get", &install);
    }
    let prefix = folder.display().to_string();
    let mut npm = vec!["install", "--silent", "--prefix", &prefix];
    npm.extend(NPM_PACKAGES);
    let _installed = fs::create_dir_all(folder).is_ok() && quietly("npm", &npm);
}

/// Makes the pages with the build that the tests use.
fn made(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut pages = Vec::new();
    for (number, (package, arguments, page)) in RUNS.iter().enumerate() {
        let out = folder.join(format!("{package}-{number}"));
        let mut command = workspace::cargo();
        command.args(["run", "--quiet", "--locked", "-p", package, "--"]);
        command.args(arguments.split(' ')).arg("--out").arg(&out).stdout(Stdio::null());
        let status = command.status().map_err(|error| format!("cannot start cargo: {error}"))?;
        if !status.success() {
            return Err(format!("{package} {arguments}: {status}"));
        }
        pages.push(out.join(page));
    }
    Ok(pages)
}

fn look(folder: &Path, pages: &[PathBuf]) -> Exit {
    // Beside its packages, where node finds them.
    let script = folder.join("pages.js");
    if let Err(error) = fs::write(&script, SCRIPT) {
        eprintln!("xtask pages: cannot write {}: {error}", script.display());
        return Exit::Environment;
    }
    match Command::new("node").arg(&script).args(pages).status() {
        Ok(status) if status.success() => Exit::Good,
        Ok(_) => Exit::Failed,
        Err(error) => {
            eprintln!("xtask pages: cannot start node: {error}");
            Exit::Environment
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_the_command_that_brings_it() {
        let folder = tempfile::tempdir().expect("a directory");
        let remedy = lacking(folder.path()).expect("there are no packages in it");
        assert!(remedy.contains("npm install --prefix "), "{remedy}");
        assert!(remedy.contains(NPM_PACKAGES[0]) && remedy.contains(NPM_PACKAGES[1]), "{remedy}");
    }
}
