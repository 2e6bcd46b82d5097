//! `kubecert assess`, `shutdown-check` and `doctor`: what an outage has hit at a site of AKS Arc, what one would hit, and
//! which known troubles are there.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use kubecert_cloud::arc::{self, Place, Seen, Site, Source};
use kubecert_cluster::presented;
use kubecert_core::assess::{self, Credential, Outage, Verdict};
use kubecert_engine::issue::chain;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{akshci, symptoms};
use crate::args::{AssessArgs, DoctorArgs, GlobalArgs, Output, ShutdownCheckArgs};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use crate::human::paint::Paint;
use crate::render::{assess_text, prometheus};

/// `kubecert assess`.
pub(crate) fn assess(global: &GlobalArgs, args: &AssessArgs) -> Result<Exit, CliError> {
    let site = args.site.as_deref().map(read_site).transpose()?;
    let credentials = site.as_ref().map(look).transpose()?.map(credentials).unwrap_or_default();
    let outage =
        Outage { off_for: args.off_for.unwrap_or(SignedDuration::ZERO), since_update: args.since_update };
    let assessment = assess::assess(args.profile, outage, &credentials, Timestamp::now());
    let name = site.as_ref().map(|site| site.name.as_str());
    if let Some(file) = &args.prometheus {
        super::write_file(file, prometheus::render(name.unwrap_or_default(), &assessment))?;
    }
    match global.output {
        Output::Json => super::print(&json(&assessment)?)?,
        Output::Text => {
            let paint = Paint::when(global.colours(io::stdout().is_terminal()));
            super::print(&assess_text::assessment(name, &assessment, paint))?;
        }
    }
    Ok(exit(assessment.verdict()))
}

/// `kubecert shutdown-check`.
pub(crate) fn shutdown_check(global: &GlobalArgs, args: &ShutdownCheckArgs) -> Result<Exit, CliError> {
    let site = read_site(&args.site)?;
    let answer = assess::shutdown(&credentials(look(&site)?), Timestamp::now(), args.planned);
    match global.output {
        Output::Json => super::print(&json(&answer)?)?,
        Output::Text => {
            let paint = Paint::when(global.colours(io::stdout().is_terminal()));
            super::print(&assess_text::shutdown(&site.name, &answer, paint))?;
        }
    }
    Ok(exit(answer.verdict))
}

/// `kubecert doctor`.
pub(crate) fn doctor(global: &GlobalArgs, args: &DoctorArgs) -> Result<Exit, CliError> {
    let site = read_site(&args.site)?;
    let (seen, sights) =
        runtime()?.block_on(async { tokio::join!(look_at_all(&site), symptoms::look(&site)) });
    let strangers = arc::strangers(&seen);
    let now = Timestamp::now();
    let findings = assess::measured(&credentials(seen), now);
    let found = assess::doctor(&findings, &strangers, &sights, now);
    match global.output {
        Output::Json => super::print(&json(&found)?)?,
        Output::Text => {
            let paint = Paint::when(global.colours(io::stdout().is_terminal()));
            super::print(&assess_text::doctor(&site.name, (findings.len(), sights.len()), &found, paint))?;
        }
    }
    Ok(if found.is_empty() { Exit::Done } else { Exit::Findings })
}

/// What is not known needs attention as well as what has ended.
const fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::NotImpacted => Exit::Done,
        Verdict::Unknown | Verdict::Impacted => Exit::Findings,
    }
}

fn json(result: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(result)
        .map(|json| json + "\n")
        .map_err(|error| CliError::because(Kind::Internal, "cannot write the result as JSON", error))
}

pub(super) fn read_site(file: &Path) -> Result<Site, CliError> {
    Site::read(file).map_err(|error| {
        CliError::because(Kind::Input, format!("cannot use site file {}", file.display()), error)
            .hint("docs/aks-arc.md shows a site file, and which classes of credentials there are.")
    })
}

fn look(site: &Site) -> Result<Vec<(Source, Seen)>, CliError> {
    Ok(runtime()?.block_on(look_at_all(site)))
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::because(Kind::Internal, "cannot start", error))
}

/// Reads all that a site names, its servers at the same time.
async fn look_at_all(site: &Site) -> Vec<(Source, Seen)> {
    let mut tasks = JoinSet::new();
    let is_elsewhere = |source: &Source| {
        matches!(source.place, Place::Secret(_) | Place::Remote(_) | Place::RemoteCertificates(_))
    };
    for (number, source) in site.sources.iter().cloned().enumerate() {
        if !is_elsewhere(&source) {
            tasks.spawn(async move {
                let seen = look_at(&source).await;
                (number, source, seen)
            });
        }
    }
    // Secrets of one cluster, and files of one machine, come over one connection, so one after the other.
    let elsewhere = site.sources.iter().cloned().enumerate().filter(|(_, source)| is_elsewhere(source));
    let mut found: Vec<(usize, Source, Seen)> = akshci::fetched(site, elsewhere).await;
    found.extend(tasks.join_all().await);
    found.sort_by_key(|(number, ..)| *number);
    found.into_iter().map(|(_, source, seen)| (source, seen)).collect()
}

fn credentials(seen: Vec<(Source, Seen)>) -> Vec<Credential> {
    arc::without_repeated_authorities(seen.into_iter().flat_map(|(_, seen)| seen.credentials).collect())
}

async fn look_at(source: &Source) -> Seen {
    match &source.place {
        Place::Server(address) => {
            let shown = presented(address).await.map(|handshake| handshake.chain);
            arc::presented(source, shown.map_err(|error| chain(&error)))
        }
        Place::Login(_)
        | Place::Access(_)
        | Place::Kubeconfig(_)
        | Place::Certificates(_)
        | Place::Secret(_)
        | Place::Remote(_)
        | Place::RemoteCertificates(_) => arc::read(source),
    }
}
