//! What the documents point at exists: links to files, subcommands and flags of the binary, targets of the Makefile.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    found.extend(["models/zoo/README.md", "models/trainer/README.md"].map(|name| root().join(name)));
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    found.extend(
        docs.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md")),
    );
    found
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            if !document.parent().unwrap().join(path).exists() {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn commands_in_the_readme_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let cli = root().join("proxy/src/cli");
    for line in readme.lines() {
        if let Some(rest) = line.strip_prefix("make ") {
            let target = rest.split_whitespace().next().unwrap();
            assert!(makefile.contains(&format!("\n{target}:")), "`make {target}`");
        }
        if let Some(rest) = line.strip_prefix("acuity ") {
            let name = rest.split_whitespace().next().unwrap();
            let exists = cli.join(format!("{name}.rs")).exists() || cli.join(name).join("mod.rs").exists();
            assert!(exists, "`acuity {name}`");
        }
    }
}
