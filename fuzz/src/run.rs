//! What a run keeps, and goes on from.

use std::net::{IpAddr, Ipv4Addr};

use kubecert_core::exec::{Command, Execution, Outcome};
use kubecert_core::intent::{Limits, Scope, Strategy, Why};
use kubecert_core::inventory::Inventory;
use kubecert_core::plan::{Action, Patience, Phase, PhaseName, Plan, Step, StepId, Target};
use kubecert_core::record::What;
use kubecert_core::report::Report;
use kubecert_engine::fuzzing;

use crate::choice;

/// More commands than the plan has steps, barriers and attempts.
const COMMANDS: usize = 400;

/// Journals: the bytes as they are, or each line given the checksum that a fuzzer does not find. What is read is replayed
/// and the execution goes on from there.
pub fn journal(data: &[u8]) {
    let Some((first, rest)) = choice(data) else { return };
    let sealed;
    let bytes = match std::str::from_utf8(rest) {
        Ok(text) if first == b'S' => {
            sealed = text.lines().map(fuzzing::journal_line).collect::<String>();
            sealed.as_bytes()
        }
        _ => rest,
    };
    let Some((records, valid)) = fuzzing::journal(bytes) else { return };
    assert!(valid <= bytes.len(), "a prefix holds the records");
    let again = fuzzing::journal(&bytes[..valid]);
    assert!(
        again.is_some_and(|(again, all)| again == records && all == valid),
        "cut off, it is the same journal"
    );
    replay(records.iter().map(|record| &record.what));
}

fn replay<'a>(records: impl Iterator<Item = &'a What>) {
    if let Ok(execution) = Execution::resume(plan(), records) {
        walk(execution);
    }
}

/// The plan against which journals are replayed: a diversion with what lies between, and a step behind the drop.
fn plan() -> Plan {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let step = |id: u32, action: Action, after: &[u32]| Step {
        id: StepId(id),
        title: "act".to_owned(),
        target: Target::Node("m0".into()),
        action,
        after: after.iter().copied().map(StepId).collect(),
        patience: Patience { attempts: 2, timeout_s: 1 },
    };
    let introduce = vec![
        step(1, Action::Divert { from: address, to: address, port: 443 }, &[]),
        step(2, Action::Await { predicates: Vec::new() }, &[1]),
        step(3, Action::Undivert, &[2]),
    ];
    let drop = vec![step(4, Action::Remove { paths: Vec::new() }, &[])];
    let phase = |name, steps| Phase { name, steps, barrier: Vec::new() };
    Plan {
        schema: Plan::SCHEMA,
        cluster: "c".into(),
        why: Why::ReplaceCa,
        scope: Scope::All,
        limits: Limits::default(),
        strategy: Strategy::CrossSigned,
        authorities: Vec::new(),
        leaves: Vec::new(),
        key_pairs: Vec::new(),
        phases: vec![phase(PhaseName::Introduce, introduce), phase(PhaseName::Drop, drop)],
        kept: Vec::new(),
        notices: Vec::new(),
    }
}

/// Goes on until the execution ends or has nothing more to say. Every third step fails once.
fn walk(mut execution: Execution) {
    let mut given = 0;
    loop {
        let commands = execution.commands();
        if commands.is_empty() {
            return;
        }
        for command in commands {
            given += 1;
            if given > COMMANDS {
                return;
            }
            let outcome = match command {
                Command::Start { step, attempt } if step.0 % 3 == 0 && attempt == 1 => {
                    Outcome::Failed { step, error: "no".to_owned(), again: true, stale: Vec::new() }
                }
                Command::Start { step, .. } => Outcome::Done { step, evidence: String::new() },
                Command::CheckBarrier { phase } => Outcome::BarrierMet { phase, evidence: Vec::new() },
                Command::AnnounceDrop => Outcome::DropAnnounced,
                Command::Finish | Command::Stop { .. } => return,
            };
            execution.handle(outcome);
        }
    }
}

/// The other files of a run's directory: plan, vault index, inventories, report. A plan is also carried out.
pub fn run_directory(data: &[u8]) {
    let Some((first, rest)) = choice(data) else { return };
    match first {
        b'P' => {
            if let Ok(plan) = serde_json::from_slice::<Plan>(rest) {
                let written = serde_json::to_vec(&plan).unwrap_or_default();
                assert!(serde_json::from_slice::<Plan>(&written).is_ok_and(|again| again == plan));
                walk(Execution::start(plan));
            }
        }
        b'V' => {
            assert!(!fuzzing::vault_index(rest) || rest.starts_with(b"[") || rest[0].is_ascii_whitespace())
        }
        b'I' => {
            if let Ok(inventory) = serde_json::from_slice::<Inventory>(rest) {
                let written = serde_json::to_vec(&inventory).unwrap_or_default();
                assert!(serde_json::from_slice::<Inventory>(&written).is_ok());
            }
        }
        _ => {
            if let Ok(report) = serde_json::from_slice::<Report>(rest) {
                let written = serde_json::to_vec(&report).unwrap_or_default();
                assert!(serde_json::from_slice::<Report>(&written).is_ok());
            }
        }
    }
}
