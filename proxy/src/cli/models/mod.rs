//! `acuity models`: the catalogue as a table; and what is in a store, what is put there and fetched from there.

mod keep;
mod publish;
mod store;
mod survey;

use std::path::Path;

use acuity_models::{Catalogue, DigestState, ModelEntry, ModelSet, Task};
use clap::{Args as ClapArgs, Subcommand};

use super::locate::Places;
use super::{Failure, say, with_causes};

/// List the models: what they are for, what they gained, what they cost, and whether their files are intact
///
/// gain: luma PSNR over the better of bicubic and Lanczos on coded video never trained on. over generic: what a model made for
/// one kind of content gained over the generic one of its size, on video of that kind it never saw. cost: wall clock of one
/// 640x360 frame on the machine that the catalogue names. Below, the sets that URLs name: all models of a cluster and scale.
/// Exit code 1 if a model is not what the catalogue says.
///
/// Below it, commands for a store of models that many edges take their catalogue from ([models.store]; docs/models.md).
#[derive(ClapArgs, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    Push(publish::PushArgs),
    Promote(publish::PromoteArgs),
    List(survey::ListArgs),
    Verify(survey::VerifyArgs),
    Pull(survey::PullArgs),
    Keep(keep::KeepArgs),
}

const HEADINGS: [&str; 9] =
    ["id", "cluster", "scale", "tier", "parameters", "gain dB", "over generic", "ms/frame", "digest"];
const SET_HEADINGS: [&str; 4] = ["cluster", "scale", "set", "tiers"];

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        None => show(args),
        Some(Command::Push(args)) => publish::push(args),
        Some(Command::Promote(args)) => publish::promote(args),
        Some(Command::List(args)) => survey::list(args),
        Some(Command::Verify(args)) => survey::verify(args),
        Some(Command::Pull(args)) => survey::pull(args),
        Some(Command::Keep(args)) => keep::keep(args),
    }
}

fn show(args: &Args) -> Result<(), Failure> {
    let directory = args.places.models(Path::new("models/zoo"));
    let catalogue = Catalogue::load(&directory)
        .map_err(|error| Failure::Fault(format!("{} (--models names another)", with_causes(&error))))?;
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    let mut broken = Vec::new();
    for (entry, state) in catalogue.verify() {
        if state != DigestState::Verified {
            broken.push(entry.id.clone());
        }
        rows.push(row(&entry, &state));
    }
    say(&format!("{}\n{}", table(&rows), table(&sets(&catalogue))));
    for rejected in catalogue.rejected() {
        eprintln!("acuity: left out: {}", with_causes(rejected));
        broken.push(rejected.id.clone().unwrap_or_default());
    }
    if broken.is_empty() { Ok(()) } else { Err(Failure::Fault(format!("not usable: {}", broken.join(", ")))) }
}

/// What is wrong with a model's file.
pub(super) fn fault(entry: &ModelEntry, state: &DigestState) -> Option<String> {
    let id = &entry.id;
    let what = match state {
        DigestState::Verified => return None,
        DigestState::Missing { path } => format!("{} does not exist", path.display()),
        DigestState::Mismatch { path, expected, found } => {
            format!("{} has the SHA-256 {found}, the catalogue says {expected}", path.display())
        }
        DigestState::Unreadable { path, reason } => format!("{} cannot be read: {reason}", path.display()),
    };
    Some(format!("model {id}: {what}; fetch or train it again, or take it out of the catalogue"))
}

fn sets(catalogue: &Catalogue) -> Vec<[String; 4]> {
    let row = |set: &ModelSet| {
        let tiers: Vec<&str> = set.entries().iter().map(|entry| entry.tier.label()).collect();
        let task = set.entries().first().map(|entry| entry.task).unwrap_or_default();
        [set.cluster().to_owned(), mark(task, set.scale()), set.digest(), tiers.join(" ")]
    };
    let headings = std::iter::once(SET_HEADINGS.map(str::to_owned));
    headings.chain(catalogue.sets().iter().chain(&catalogue.interpolators()).map(row)).collect()
}

/// `x2`: twice as large; `i2`: two pictures for one.
fn mark(task: Task, scale: u32) -> String {
    match task {
        Task::Upscale => format!("x{scale}"),
        Task::Interpolate => format!("i{scale}"),
    }
}

fn row(entry: &ModelEntry, state: &DigestState) -> [String; 9] {
    let figure =
        |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    [
        entry.id.clone(),
        entry.cluster.clone(),
        mark(entry.task, entry.scale),
        entry.tier.to_string(),
        entry.parameters.to_string(),
        figure(entry.measured.gain_db, 2),
        figure(over_generic_db(entry), 2),
        figure(entry.measured.ms_per_frame, 1),
        match state {
            DigestState::Verified => format!("{} ok", entry.sha256.to_string().get(..8).unwrap_or_default()),
            DigestState::Mismatch { .. } => "MISMATCH".to_owned(),
            DigestState::Missing { .. } => "MISSING".to_owned(),
            DigestState::Unreadable { .. } => "UNREADABLE".to_owned(),
        },
    ]
}

/// What a content-aware model gained over the generic one of its size, on video of its content held out from training.
fn over_generic_db(entry: &ModelEntry) -> Option<f64> {
    Some(entry.measured.heldout_db? - entry.measured.heldout_generic_db?)
}

/// Columns as wide as their widest cell, two blanks between, no blanks at line ends.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["id", "n"], ["generic-x2-s", "9"], ["a", "10"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "id            n\ngeneric-x2-s  9\na             10\n");
    }
}
