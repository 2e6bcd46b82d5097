//! Looking at a Windows node. The answer has the form of `look.sh`'s.

use kubecert_core::inventory::{FileFacts, NodeFacts};
use kubecert_core::layout::windows::STAGE;
use kubecert_core::model::{NodeName, RunId};
use kubecert_engine::ports::{Fault, NodeQuestion, PortError, PortResult};
use zeroize::Zeroizing;

use super::super::look::{answered, clock_offset};
use super::super::{QUICK, checked_word, text};
use super::{checked_path, list, parts};
use crate::exec::{Exec, Job};

/// Looks at files, processes, services, clock and disk. Changes nothing.
pub(crate) async fn look(exec: &dyn Exec, node: &NodeName, question: &NodeQuestion) -> PortResult<NodeFacts> {
    let what = format!("cannot look at {node}");
    let input = Zeroizing::new(asked(question, &what)?);
    let output = exec.run(Job::windows("look", parts("look"), QUICK, &what).input(input)).await?;
    let (mut facts, clock) = answered(text(&output, &what)?, question, &what)?;
    if let Some(offset) = clock_offset(clock, &output) {
        facts.clock_offset_ms = offset;
    }
    Ok(facts)
}

/// The question as `look.ps1` reads it.
fn asked(question: &NodeQuestion, what: &str) -> PortResult<Vec<u8>> {
    let mut lines = Vec::new();
    for path in &question.paths {
        lines.push(format!("path {}", checked_path(path, what)?));
    }
    for path in &question.texts {
        lines.push(format!("path {}", checked_path(path, what)?));
        lines.push(format!("text {path}"));
    }
    lines.extend(
        question.components.iter().map(|component| format!("component {}", component.process_name())),
    );
    if let Some(unit) = question.units.first() {
        return Err(PortError::new(Fault::Unexpected, what, format!("there is no unit {unit} on Windows")));
    }
    for tool in &question.tools {
        lines.push(format!("tool {}", checked_word(tool, what)?));
    }
    Ok(list(lines, []))
}

/// What a run has left on the node: its id, and the files of the question as that run found them.
pub(crate) async fn remains(
    exec: &dyn Exec,
    node: &NodeName,
    question: &NodeQuestion,
) -> PortResult<Option<(RunId, Vec<FileFacts>)>> {
    let what = format!("cannot look for backups on {node}");
    let job = Job::windows("remains", parts("remains"), QUICK, &what).input(Zeroizing::new(list([], [])));
    let output = exec.run(job).await?;
    let Some(run) = text(&output, &what)?.lines().next().map(str::to_owned) else { return Ok(None) };
    let run = RunId::new(checked_word(&run, &what)?);
    let backup = format!(r"{STAGE}\{run}\backup\");
    // The drive is a directory there.
    let below = |path: &String| format!("{backup}{}{}", &path[..1], &path[2..]);
    for path in question.paths.iter().chain(&question.texts) {
        checked_path(path, &what)?;
    }
    let inner = NodeQuestion {
        paths: question.paths.iter().map(below).collect(),
        texts: question.texts.iter().map(below).collect(),
        ..NodeQuestion::default()
    };
    let mut files = look(exec, node, &inner).await?.files;
    for file in &mut files {
        if let Some((drive, rest)) = file.path.strip_prefix(&backup).and_then(|path| path.split_once('\\')) {
            file.path = format!(r"{drive}:\{rest}");
        }
    }
    Ok(Some((run, files)))
}
