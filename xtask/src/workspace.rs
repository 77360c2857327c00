//! Where the workspace is and what `cargo metadata` says of it. Builds nothing and needs no network.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The directory of the root manifest.
pub(crate) fn root() -> PathBuf {
    // `cargo run` and `cargo test` set the variable; the compiled-in path serves a binary started by hand.
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or_else(|| xtask.clone(), Path::to_path_buf)
}

/// The cargo that started us, in the workspace root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// What the rules and the CI steps need to know of the members.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// All members, in cargo's order.
    pub(crate) packages: Vec<Package>,
    /// Where cargo puts what it builds.
    pub(crate) target_dir: PathBuf,
}

/// One member of the workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the root, with forward slashes: `crates/ng-core`.
    pub(crate) dir: String,
    /// `[package.metadata.neurograph] floor`; `None` where the manifest does not say.
    pub(crate) floor: Option<u64>,
    /// Names of all direct dependencies of every kind.
    pub(crate) dependencies: Vec<String>,
    pub(crate) has_library: bool,
    pub(crate) examples: Vec<String>,
}

impl Workspace {
    /// Asks cargo. The error is a sentence for the terminal.
    pub(crate) fn load() -> Result<Workspace, String> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .output()
            .map_err(|error| format!("cannot start cargo metadata: {error}"))?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cargo metadata failed: {}", reason.trim()));
        }
        let document = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("cargo metadata printed no JSON: {error}"))?;
        Ok(Workspace::from_metadata(&document))
    }

    /// Reads `cargo metadata --format-version 1`. What is missing there reads as empty.
    fn from_metadata(document: &Value) -> Workspace {
        let root = text(&document["workspace_root"]);
        let packages = array(&document["packages"]).iter().map(|p| package(p, &root)).collect();
        Workspace { packages, target_dir: PathBuf::from(text(&document["target_directory"])) }
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The member whose directory holds `path`.
    pub(crate) fn owner_of(&self, path: &str) -> Option<&Package> {
        let holds = |package: &&Package| {
            path.strip_prefix(package.dir.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        // The deepest: a member may lie in the folder of another.
        self.packages.iter().filter(holds).max_by_key(|package| package.dir.len())
    }
}

fn package(value: &Value, root: &str) -> Package {
    let manifest = text(&value["manifest_path"]);
    let manifest = manifest.strip_prefix(root).unwrap_or(&manifest).replace('\\', "/");
    let dir = manifest.trim_start_matches('/').trim_end_matches("/Cargo.toml").to_owned();
    let dependencies = array(&value["dependencies"]).iter().map(|d| text(&d["name"])).collect();
    let targets = array(&value["targets"]);
    let is = |target: &Value, kind: &str| array(&target["kind"]).iter().any(|k| k == kind);
    Package {
        name: text(&value["name"]),
        dir,
        floor: value["metadata"]["neurograph"]["floor"].as_u64(),
        dependencies,
        has_library: targets.iter().any(|target| is(target, "lib")),
        examples: targets
            .iter()
            .filter(|target| is(target, "example"))
            .map(|target| text(&target["name"]))
            .collect(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_workspace_has_its_floors_and_examples_know_their_owner() {
        let workspace = Workspace::load().unwrap();
        assert_eq!(workspace.package("neurograph").unwrap().floor, Some(1));
        assert_eq!(workspace.package("xtask").unwrap().floor, None);
        assert_eq!(workspace.package("ng-core").unwrap().dir, "crates/ng-core");
        assert_eq!(workspace.owner_of("crates/ng-core/src/lib.rs").unwrap().name, "ng-core");
        assert!(workspace.owner_of("crates/ng-core-other/src/lib.rs").is_none());
        assert_eq!(workspace.owner_of("benches/src/main.rs").unwrap().name, "benches");
        let inner = workspace.owner_of("benches/instructions/src/main.rs").unwrap();
        assert_eq!(inner.name, "instructions");
        assert!(workspace.package("neurograph").unwrap().dependencies.contains(&"ng-wal".into()));
    }
}
