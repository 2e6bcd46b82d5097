//! Looking at a node: everything in one round trip.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kubecert_core::inventory::{CertificateFacts, FileFacts, NodeFacts, ProcessFacts};
use kubecert_core::model::{Component, NodeName, RunId};
use kubecert_engine::facts::certificate_facts;
use kubecert_engine::ports::{Fault, NodeQuestion, PortError, PortResult};
use kubecert_pki::read_pem_certificates;
use zeroize::Zeroizing;

use super::process::{PROCESSES, start};
use super::{QUICK, checked_path, checked_word, not_understood, text};
use crate::exec::{Exec, Job, Output};

/// Looks at files, processes, units, clock and disk. Changes nothing.
pub(crate) async fn look(exec: &dyn Exec, node: &NodeName, question: &NodeQuestion) -> PortResult<NodeFacts> {
    let what = format!("cannot look at {node}");
    let job = Job::new("look", &[PROCESSES, include_str!("../scripts/look.sh")], QUICK, &what)
        .input(asked(question, &what)?);
    let output = exec.run(job).await?;
    let (mut facts, clock) = answered(text(&output, &what)?, question, &what)?;
    if let Some(offset) = clock_offset(clock, &output) {
        facts.clock_offset_ms = offset;
    }
    Ok(facts)
}

/// By how much the node's clock is off. The script says the time before anything else, so that time was right half a round
/// trip before its arrival.
pub(super) fn clock_offset(clock: Option<Timestamp>, output: &Output) -> Option<i64> {
    Some(offset(clock?, output.answered?, output.round_trip))
}

/// What a run has left on the node: its id, and the files of the question as that run found them.
pub(crate) async fn remains(
    exec: &dyn Exec,
    node: &NodeName,
    question: &NodeQuestion,
) -> PortResult<Option<(RunId, Vec<FileFacts>)>> {
    let what = format!("cannot look for backups on {node}");
    let job = Job::new("remains", &[include_str!("../scripts/remains.sh")], QUICK, &what);
    let output = exec.run(job).await?;
    let Some(backup) = text(&output, &what)?.lines().next().map(str::to_owned) else { return Ok(None) };
    let run = backup.strip_suffix("/backup").and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let run = RunId::new(checked_word(run, &what)?);
    let below = |path: &String| format!("{backup}{path}");
    let question = NodeQuestion {
        paths: question.paths.iter().map(below).collect(),
        texts: question.texts.iter().map(below).collect(),
        ..NodeQuestion::default()
    };
    let mut files = look(exec, node, &question).await?.files;
    for file in &mut files {
        if let Some(original) = file.path.strip_prefix(&backup) {
            file.path = original.to_owned();
        }
    }
    Ok(Some((run, files)))
}

/// Reads the answer of `look.sh`: what was seen, and the time on the node.
pub(crate) fn answered(
    answer: &str,
    question: &NodeQuestion,
    what: &str,
) -> PortResult<(NodeFacts, Option<Timestamp>)> {
    let mut reader = Answer { what, question, facts: empty(), files: BTreeMap::new(), clock: None };
    reader.read(answer)?;
    let clock = reader.clock;
    Ok((reader.finish()?, clock))
}

/// The question as `look.sh` reads it.
fn asked(question: &NodeQuestion, what: &str) -> PortResult<Zeroizing<Vec<u8>>> {
    let mut input = String::new();
    let mut add = |kind: &str, value: &str| {
        input.push_str(kind);
        input.push(' ');
        input.push_str(value);
        input.push('\n');
    };
    for path in &question.paths {
        add("path", checked_path(path, what)?);
    }
    for path in &question.texts {
        // Asking for a text without asking for the file would otherwise have no answer to hang it on.
        add("path", checked_path(path, what)?);
        add("text", path);
    }
    for component in &question.components {
        add("component", component.process_name());
    }
    for unit in &question.units {
        add("unit", checked_word(unit, what)?);
    }
    for tool in &question.tools {
        add("tool", checked_word(tool, what)?);
    }
    input.push_str(".\n");
    Ok(Zeroizing::new(input.into_bytes()))
}

fn empty() -> NodeFacts {
    NodeFacts {
        hostname: String::new(),
        clock_offset_ms: 0,
        free_bytes: 0,
        files: Vec::new(),
        processes: Vec::new(),
        active_units: Vec::new(),
        missing_tools: Vec::new(),
    }
}

fn offset(theirs: Timestamp, arrived: SystemTime, round_trip: Duration) -> i64 {
    let Ok(arrived) = Timestamp::try_from(arrived) else { return 0 };
    let latency = i64::try_from(round_trip.as_millis() / 2).unwrap_or(0);
    theirs.as_millisecond() - (arrived.as_millisecond() - latency)
}

/// A file of which several lines of the answer tell.
#[derive(Default)]
struct Piece {
    order: usize,
    mode: u32,
    owner: String,
    sha256: Option<String>,
    changed: Option<Timestamp>,
    certificates: Vec<CertificateFacts>,
    text: Option<String>,
    link: Option<String>,
}

struct Answer<'a> {
    what: &'a str,
    question: &'a NodeQuestion,
    facts: NodeFacts,
    files: BTreeMap<String, Piece>,
    clock: Option<Timestamp>,
}

impl Answer<'_> {
    /// Reads the lines of `look.sh`.
    fn read(&mut self, answer: &str) -> PortResult<()> {
        let mut lines = answer.lines();
        while let Some(line) = lines.next() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            let understood = match kind {
                "clock" => seconds(rest).map(|clock| self.clock = Some(clock)),
                "hostname" => {
                    rest.clone_into(&mut self.facts.hostname);
                    Some(())
                }
                "free" => rest.parse().ok().map(|free| self.facts.free_bytes = free),
                "file" => self.file(rest),
                // sha256sum separates by two characters, the second of which tells text from binary.
                "sum" => {
                    rest.split_at_checked(64).and_then(|(digest, path)| self.sum(digest, path.get(2..)?))
                }
                "link" => self.link(rest, lines.next()),
                "pem" => return_err(self.certificates(rest, lines.next().map(|pem| pem.replace('|', "\n"))))?,
                "data" => return_err(self.certificates(rest, lines.next().and_then(decoded)))?,
                "text" => lines.next().and_then(decoded).and_then(|text| self.text(rest, text)),
                "process" => self.process(rest),
                "active" => {
                    self.facts.active_units.push(rest.to_owned());
                    Some(())
                }
                "missing" => {
                    self.facts.missing_tools.push(rest.to_owned());
                    Some(())
                }
                "end" => return Ok(()),
                _ => None,
            };
            understood.ok_or_else(|| not_understood(self.what, line))?;
        }
        Err(PortError::new(Fault::Unreachable, self.what, "its answer was cut off"))
    }

    /// `MODE OWNER CHANGED PATH`.
    fn file(&mut self, rest: &str) -> Option<()> {
        let mut parts = rest.splitn(4, ' ');
        let mode = u32::from_str_radix(parts.next()?, 8).ok()?;
        let owner = parts.next()?.to_owned();
        let changed = seconds(parts.next()?)?;
        let order = self.files.len();
        let piece = self.files.entry(parts.next()?.to_owned()).or_default();
        if piece.changed.is_none() {
            *piece = Piece { order, mode, owner, changed: Some(changed), ..Piece::default() };
        }
        Some(())
    }

    fn sum(&mut self, digest: &str, path: &str) -> Option<()> {
        self.files.entry(path.to_owned()).or_default().sha256 = Some(digest.to_owned());
        Some(())
    }

    /// `CHANGED PATH`, then the target. A link that has been flipped changes what is read through it, so the younger of
    /// link and file counts.
    fn link(&mut self, rest: &str, target: Option<&str>) -> Option<()> {
        let (changed, path) = rest.split_once(' ')?;
        let changed = seconds(changed)?;
        let piece = self.files.entry(path.to_owned()).or_default();
        piece.changed = piece.changed.max(Some(changed));
        piece.link = Some(target?.to_owned());
        Some(())
    }

    /// One block of PEM, or what a kubeconfig embeds. A certificate that cannot be read is an error where the file was
    /// asked for by name: unknown is never fine. In a directory it may be anybody's, so it is only told.
    fn certificates(&mut self, path: &str, pem: Option<String>) -> PortResult<()> {
        let Some(pem) = pem else { return Err(not_understood(self.what, path)) };
        for certificate in read_pem_certificates(&pem) {
            match certificate {
                Ok(certificate) => {
                    let piece = self.files.entry(path.to_owned()).or_default();
                    piece.certificates.push(certificate_facts(&certificate));
                }
                Err(source) if self.question.paths.iter().any(|asked| asked == path) => {
                    let cause = format!("a certificate in {path} cannot be read: {source}");
                    return Err(PortError::new(Fault::Unexpected, self.what, cause)
                        .remedy("Repair or remove that file, then run the same command again."));
                }
                Err(source) => tracing::warn!(path, %source, "skipped a certificate that cannot be read"),
            }
        }
        Ok(())
    }

    fn text(&mut self, path: &str, text: String) -> Option<()> {
        self.files.entry(path.to_owned()).or_default().text = Some(text);
        Some(())
    }

    /// `COMPONENT PID START`.
    fn process(&mut self, rest: &str) -> Option<()> {
        let mut parts = rest.split(' ');
        let name = parts.next()?;
        let component: Component =
            *self.question.components.iter().find(|asked| asked.process_name() == name)?;
        let (pid, started) = (parts.next()?.parse().ok()?, start(parts.next()?)?);
        self.facts.processes.push(ProcessFacts { component, pid, started });
        Some(())
    }

    /// Puts the pieces together. A file that vanished while it was looked at has no digest, and did not exist.
    fn finish(self) -> PortResult<NodeFacts> {
        let Answer { what, mut facts, files, .. } = self;
        let mut pieces: Vec<(String, Piece)> = files.into_iter().collect();
        pieces.sort_by_key(|(_, piece)| piece.order);
        for (path, piece) in pieces {
            let (Some(sha256), Some(modified)) = (piece.sha256, piece.changed) else {
                tracing::debug!(what, path, "a file vanished while it was looked at");
                continue;
            };
            facts.files.push(FileFacts {
                path,
                mode: piece.mode,
                owner: piece.owner,
                sha256,
                modified,
                certificates: piece.certificates,
                text: piece.text,
                link: piece.link,
            });
        }
        Ok(facts)
    }
}

/// Lets a result pass through a match whose arms tell by an option whether they understood.
fn return_err(result: PortResult<()>) -> PortResult<Option<()>> {
    result.map(Some)
}

/// Base64 of text.
fn decoded(line: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(line).ok()?).ok()
}

/// Seconds since the epoch with a fraction.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let nanoseconds: i32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Timestamp::new(whole.parse().ok()?, nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> PortResult<NodeFacts> {
        let question = NodeQuestion { components: vec![Component::ApiServer], ..NodeQuestion::default() };
        answered(answer, &question, "").map(|(facts, _)| facts)
    }

    #[test]
    fn an_answer_is_put_together() {
        let digest = "ab".repeat(32);
        let facts = read(&format!(
            "clock 1763761500.5\nhostname n1\nfree 42\nfile 600 etcd:root 1763761400.123456789 /a b\nsum {digest}  /a b\n\
             link 1763761450.000000000 /a b\n/c\ntext /a b\naGk=\nprocess kube-apiserver 7 176376145012\nactive e.service\n\
             missing iptables\nend\n"
        ))
        .expect("it is understood");
        let file = facts.file("/a b").expect("the file is there");
        assert_eq!((file.mode, file.owner.as_str(), file.text.as_deref()), (0o600, "etcd:root", Some("hi")));
        assert_eq!(file.modified.as_second(), 1_763_761_450, "the link is younger than the file");
        assert_eq!(facts.processes[0].started.as_millisecond(), 1_763_761_450_120);
        assert_eq!((facts.free_bytes, facts.hostname.as_str()), (42, "n1"));
        assert_eq!(
            (facts.active_units, facts.missing_tools),
            (vec!["e.service".into()], vec!["iptables".into()])
        );
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_an_error() {
        assert!(read("clock 1.5\nhostname n1\n").is_err_and(|error| error.is_transient()));
        for bad in ["nonsense\nend\n", "file 600\nend\n", "sum 00  /a\nend\n", "process kubelet 1 2\nend\n"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn clocks_are_compared_at_the_middle_of_the_round_trip() {
        let arrived = SystemTime::UNIX_EPOCH + Duration::from_millis(10_040);
        let theirs = Timestamp::from_millisecond(12_000).expect("in range");
        assert_eq!(offset(theirs, arrived, Duration::from_millis(80)), 2_000);
    }
}
