//! Evaluates predicates by looking at running processes.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use kubecert_core::inventory::{CaRef, EtcdMember, Server};
use kubecert_core::material::{ChainForm, Part};
use kubecert_core::model::{Component, Generation, LeafId, NodeName, TrustDomain};
use kubecert_core::plan::Predicate;
use kubecert_pki::{Certificate, parse_pem_certificates};

use crate::issue::throw_away_client;
use crate::ports::{Credentials, Fault, Identity, NodeQuestion, PortError, PortResult, Ports};
use crate::vault::{Vault, VaultError, pkcs8};

/// How long between two looks at something that is waited for. Shorter than anything that is waited for takes, long
/// enough that a look over SSH does not keep the node busy.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How many entries of the log a member may be behind the leader and still count as caught up: what a busy cluster
/// writes between two requests.
const ETCD_LAG: u64 = 200;

/// What an evaluation needs.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The world.
    pub ports: &'a Ports,
    /// Both generations of the PKI.
    pub vault: &'a Vault,
    /// The credentials in use.
    pub credentials: &'a Credentials,
}

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds, with what shows it.
    Holds(String),
    /// It does not hold (yet), with what is seen instead.
    Not(String),
}

/// Waits until all predicates hold at once, or gives those that do not when the time is up.
///
/// `waiting` is told what is still missing whenever that changes.
pub async fn wait(
    scene: Scene<'_>,
    predicates: &[Predicate],
    patience: Duration,
    mut waiting: impl FnMut(&[String]),
) -> Result<Vec<String>, Vec<String>> {
    let mut told = Vec::new();
    let look = async {
        loop {
            let missing = match look_at_all(scene, predicates).await {
                Ok(evidence) => return evidence,
                Err(missing) => missing,
            };
            if missing != told {
                waiting(&missing);
                told = missing;
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    };
    match tokio::time::timeout(patience, look).await {
        Ok(evidence) => Ok(evidence),
        Err(_) => {
            Err(if told.is_empty() { predicates.iter().map(ToString::to_string).collect() } else { told })
        }
    }
}

/// Looks once: the evidence for all of them, or what is missing.
pub async fn look_at_all(scene: Scene<'_>, predicates: &[Predicate]) -> Result<Vec<String>, Vec<String>> {
    let verdicts = join_all(predicates.iter().map(|predicate| evaluate(scene, predicate))).await;
    let mut evidence = Vec::new();
    let mut missing = Vec::new();
    for (predicate, verdict) in predicates.iter().zip(verdicts) {
        match verdict {
            Ok(Verdict::Holds(how)) => evidence.push(format!("{predicate} ({how})")),
            Ok(Verdict::Not(why)) => missing.push(format!("{predicate} ({why})")),
            Err(error) => missing.push(format!("{predicate} ({error})")),
        }
    }
    if missing.is_empty() { Ok(evidence) } else { Err(missing) }
}

/// Looks at one predicate.
///
/// # Errors
///
/// Fails if it could not be looked at; that is never "holds".
pub async fn evaluate(scene: Scene<'_>, predicate: &Predicate) -> PortResult<Verdict> {
    match predicate {
        Predicate::Presents { server, leaf, generation, form } => {
            presents(scene, server, leaf, *generation, *form).await
        }
        Predicate::Advertises { server, cas } => advertises(scene, server, cas).await,
        Predicate::ApiServerReady { node } => {
            let status =
                scene.ports.probe.get(&Server::ApiServer(node.clone()), scene.credentials, "/readyz").await?;
            Ok(verdict(status == 200, format!("/readyz answers {status}")))
        }
        Predicate::EtcdHealthy => Ok(etcd_healthy(&scene.ports.etcd.members().await?)),
        Predicate::StartedAfter { node, component, files } => {
            started_after(scene, node, *component, files).await
        }
        Predicate::NodeReady { node } => node_ready(scene, node).await,
        Predicate::ControllerManagerLeads { files } => controller_manager_leads(scene, files).await,
        Predicate::RootsPublished { cas } => {
            let published = scene.ports.api.published_roots().await?;
            same_roots(
                scene,
                cas,
                published.into_iter().map(|(namespace, pem)| (format!("namespace {namespace}"), pem)),
            )
        }
        Predicate::TokenSecretsCarry { cas } => {
            let secrets = scene.ports.api.token_secret_roots().await?;
            same_roots(scene, cas, secrets.into_iter().map(|(secret, pem)| (format!("Secret {secret}"), pem)))
        }
        Predicate::ExtensionTrusts { cas } => extension_trusts(scene, cas).await,
        Predicate::AcceptsClientsOf { node, ca } => {
            let (accepted, how) = accepts(scene, node, *ca).await?;
            Ok(verdict(accepted, how))
        }
        Predicate::RefusesClientsOf { node, ca } => {
            let (accepted, how) = accepts(scene, node, *ca).await?;
            Ok(verdict(!accepted, how))
        }
        Predicate::ReadAgain { node, component, files, seconds } => {
            read_again(scene, node, *component, files, *seconds).await
        }
        Predicate::HoldsLeafOf { node, path, ca } => holds_leaf_of(scene, node, path, *ca).await,
        Predicate::AggregatedApisAvailable => {
            let unavailable = scene.ports.api.unavailable_aggregated_apis().await?;
            let names: Vec<String> =
                unavailable.into_iter().map(|(name, why)| format!("{name}: {why}")).collect();
            Ok(if names.is_empty() {
                Verdict::Holds("all conditions Available are True".to_owned())
            } else {
                Verdict::Not(names.join(", "))
            })
        }
    }
}

async fn presents(
    scene: Scene<'_>,
    server: &Server,
    leaf: &LeafId,
    generation: Generation,
    form: ChainForm,
) -> PortResult<Verdict> {
    let wanted =
        scene.vault.certificate(&Part::Leaf(leaf.clone(), generation)).map_err(|error| own(&error))?;
    let shown = scene.ports.probe.handshake(server).await?;
    let Some(first) = shown.chain.first() else { return Ok(Verdict::Not("it presents nothing".to_owned())) };
    if first.as_slice() != wanted.der() {
        return Ok(Verdict::Not("it presents another one".to_owned()));
    }
    let crossed = shown.chain.len() > 1;
    let expected = form == ChainForm::WithCross;
    let how = format!(
        "sha256 {}… {} the cross certificate",
        &wanted.fingerprint().to_string()[..16],
        if crossed { "with" } else { "without" }
    );
    Ok(verdict(crossed == expected, how))
}

async fn advertises(scene: Scene<'_>, server: &Server, cas: &[CaRef]) -> PortResult<Verdict> {
    let wanted = cas
        .iter()
        .map(|ca| {
            let certificate =
                scene.vault.certificate(&Part::Ca(ca.domain, ca.generation)).map_err(|error| own(&error))?;
            Ok((certificate.subject().der().to_vec(), certificate.subject().to_string()))
        })
        .collect::<PortResult<BTreeSet<_>>>()?;
    let shown = scene.ports.probe.handshake(server).await?;
    let shown: BTreeSet<Vec<u8>> = shown.client_ca_names.into_iter().collect();
    let same = wanted.iter().map(|(der, _)| der).eq(shown.iter());
    let names = |ders: &BTreeSet<Vec<u8>>| {
        let name = |der: &Vec<u8>| {
            kubecert_pki::DistinguishedName::from_der(der)
                .map_or_else(|_| "?".to_owned(), |name| name.to_string())
        };
        ders.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    Ok(verdict(same, format!("it names {}", names(&shown))))
}

fn etcd_healthy(members: &[EtcdMember]) -> Verdict {
    let leader = members.iter().map(|member| member.committed_index).max().unwrap_or(0);
    let behind = |member: &&EtcdMember| !member.healthy || member.applied_index + ETCD_LAG < leader;
    let bad: Vec<&str> = members.iter().filter(behind).map(|member| member.name.as_str()).collect();
    if members.is_empty() {
        Verdict::Not("no member answers".to_owned())
    } else if !bad.is_empty() {
        Verdict::Not(format!("not {}", bad.join(", ")))
    } else if !members.iter().any(|member| member.leader) {
        Verdict::Not("no member leads".to_owned())
    } else {
        Verdict::Holds(format!("{} members, index {leader}", members.len()))
    }
}

async fn started_after(
    scene: Scene<'_>,
    node: &NodeName,
    component: Component,
    files: &[String],
) -> PortResult<Verdict> {
    let started = process_start(scene.ports, node, component, files).await?;
    Ok(match started {
        None => Verdict::Not("it does not run".to_owned()),
        Some((started, changed)) => {
            verdict(started >= changed, format!("process since {started}, files since {changed}"))
        }
    })
}

/// Nodes with a process that runs and is older than the files that it was restarted for. It never will be younger: it has
/// to be restarted again.
pub async fn stale_nodes(scene: Scene<'_>, predicates: &[Predicate]) -> Vec<NodeName> {
    let looks = predicates.iter().map(|predicate| async move {
        let (node, component, files) = match predicate {
            Predicate::StartedAfter { node, component, files } => (node.clone(), *component, files),
            Predicate::ControllerManagerLeads { files } => {
                let lease = scene.ports.api.controller_manager_lease().await.ok()?;
                (NodeName::from(lease.host()), Component::ControllerManager, files)
            }
            _ => return None,
        };
        let stale = is_stale(scene.ports, &node, component, files).await.ok()?;
        stale.then_some(node)
    });
    let found: BTreeSet<NodeName> = join_all(looks).await.into_iter().flatten().collect();
    found.into_iter().collect()
}

/// Whether a process runs that is older than some files. Nothing is looked at where there are no files.
pub(crate) async fn is_stale(
    ports: &Ports,
    node: &NodeName,
    component: Component,
    files: &[String],
) -> PortResult<bool> {
    if files.is_empty() {
        return Ok(false);
    }
    let found = process_start(ports, node, component, files).await?;
    Ok(found.is_some_and(|(started, changed)| started < changed))
}

/// When the process started and when the youngest of the files changed, both by the node's clock.
async fn process_start(
    ports: &Ports,
    node: &NodeName,
    component: Component,
    files: &[String],
) -> PortResult<Option<(Timestamp, Timestamp)>> {
    let question =
        NodeQuestion { paths: files.to_vec(), components: vec![component], ..NodeQuestion::default() };
    let facts = ports.nodes.look(node, &question).await?;
    let changed = facts.files.iter().map(|file| file.modified).max().unwrap_or(Timestamp::UNIX_EPOCH);
    let started = facts
        .processes
        .iter()
        .filter(|process| process.component == component)
        .map(|process| process.started);
    Ok(started.max().map(|started| (started, changed)))
}

/// Whether the first certificate in a file is one that the CA signed. Who wrote it is not known, so that the signature is
/// what counts.
async fn holds_leaf_of(scene: Scene<'_>, node: &NodeName, path: &str, ca: CaRef) -> PortResult<Verdict> {
    let authority =
        scene.vault.certificate(&Part::Ca(ca.domain, ca.generation)).map_err(|error| own(&error))?;
    let question = NodeQuestion { paths: vec![path.to_owned()], ..NodeQuestion::default() };
    let facts = scene.ports.nodes.look(node, &question).await?;
    let Some(leaf) = facts.file(path).and_then(|file| file.certificates.first()) else {
        return Ok(Verdict::Not("there is no certificate".to_owned()));
    };
    let signed = Certificate::from_pem(&leaf.pem).is_ok_and(|leaf| leaf.signed_by(authority).is_ok());
    Ok(if signed {
        Verdict::Holds(format!("{}, serial {}", leaf.subject, leaf.serial))
    } else {
        Verdict::Not("the one that is there was signed by another CA".to_owned())
    })
}

/// Whether a process has had the time to read some files again.
async fn read_again(
    scene: Scene<'_>,
    node: &NodeName,
    component: Component,
    files: &[String],
    seconds: u32,
) -> PortResult<Verdict> {
    let question =
        NodeQuestion { paths: files.to_vec(), components: vec![component], ..NodeQuestion::default() };
    let facts = scene.ports.nodes.look(node, &question).await?;
    if !facts.processes.iter().any(|process| process.component == component) {
        return Ok(Verdict::Not("it does not run".to_owned()));
    }
    let missing = files.iter().find(|path| facts.file(path).is_none());
    if let Some(missing) = missing {
        return Ok(Verdict::Not(format!("{missing} is not there")));
    }
    let changed = facts.files.iter().map(|file| file.modified).max().unwrap_or(Timestamp::UNIX_EPOCH);
    let now_ms = scene.ports.clock.now().as_millisecond() + facts.clock_offset_ms;
    let lain = (now_ms - changed.as_millisecond()) / 1000;
    // The same words each second: what is waited for is told anew whenever it changes.
    Ok(if lain >= i64::from(seconds) {
        Verdict::Holds(format!("unchanged for {lain} s"))
    } else {
        Verdict::Not(format!("until {changed} and {seconds} s"))
    })
}

async fn node_ready(scene: Scene<'_>, node: &NodeName) -> PortResult<Verdict> {
    let nodes = scene.ports.api.nodes().await?;
    let Some(status) = nodes.iter().find(|status| &status.name == node) else {
        return Ok(Verdict::Not("the API does not know it".to_owned()));
    };
    if !status.ready {
        return Ok(Verdict::Not("its condition Ready is not True".to_owned()));
    }
    // A heartbeat from before the restart proves nothing about the kubelet that runs now.
    let started = process_start(scene.ports, node, Component::Kubelet, &[]).await?;
    Ok(match (status.renewed, started) {
        (_, None) => Verdict::Not("its kubelet does not run".to_owned()),
        (Some(renewed), Some((started, _))) => {
            verdict(renewed >= started, format!("heartbeat {renewed}, kubelet since {started}"))
        }
        (None, Some(_)) => Verdict::Holds("Ready; it has no Lease".to_owned()),
    })
}

async fn controller_manager_leads(scene: Scene<'_>, files: &[String]) -> PortResult<Verdict> {
    let lease = scene.ports.api.controller_manager_lease().await?;
    let host = lease.host();
    if host.is_empty() {
        return Ok(Verdict::Not("nobody holds the lease".to_owned()));
    }
    let Some((started, changed)) =
        process_start(scene.ports, &NodeName::from(host), Component::ControllerManager, files).await?
    else {
        return Ok(Verdict::Not(format!("the lease is {host}'s, where none runs")));
    };
    if started < changed {
        return Ok(Verdict::Not(format!("{host} leads, with the old files")));
    }
    // The lease may still be that of the process before, which renews it no more. When it was acquired does not tell, since
    // the start of a process is told by the node's clock of now, and that may have been set since.
    Ok(match lease.renewed {
        Some(renewed) if renewed >= started => Verdict::Holds(format!("{host}, renewed {renewed}")),
        _ => Verdict::Not(format!("the lease of {host} is its former process's")),
    })
}

/// Who holds the controller managers' lease, if that process has ended: another one runs on its node that started after
/// the lease was renewed last.
pub(crate) async fn former_leader(ports: &Ports) -> PortResult<Option<String>> {
    let lease = ports.api.controller_manager_lease().await?;
    let host = lease.host();
    if host.is_empty() {
        return Ok(None);
    }
    let started = process_start(ports, &NodeName::from(host), Component::ControllerManager, &[]).await?;
    let ended = matches!((lease.renewed, started), (Some(renewed), Some((started, _))) if renewed < started);
    Ok(ended.then_some(lease.holder))
}

fn same_roots(
    scene: Scene<'_>,
    cas: &[CaRef],
    holders: impl Iterator<Item = (String, String)>,
) -> PortResult<Verdict> {
    let wanted = fingerprints(scene, cas)?;
    let mut count = 0;
    let mut other = Vec::new();
    for (holder, pem) in holders {
        count += 1;
        if pem_fingerprints(&pem) != wanted {
            other.push(holder);
        }
    }
    let found = other.len();
    Ok(match other.first() {
        None => Verdict::Holds(format!("{count} looked at")),
        Some(first) => Verdict::Not(format!("{found} of {count} do not, {first} for one")),
    })
}

async fn extension_trusts(scene: Scene<'_>, cas: &[CaRef]) -> PortResult<Verdict> {
    let Some(extension) = scene.ports.api.extension_authentication().await? else {
        return Ok(Verdict::Not("the ConfigMap does not exist".to_owned()));
    };
    let of = |domain| cas.iter().copied().filter(|ca| ca.domain == domain).collect::<Vec<CaRef>>();
    let front_proxy = pem_fingerprints(&extension.requestheader_client_ca);
    if front_proxy != fingerprints(scene, &of(TrustDomain::FrontProxy))? {
        return Ok(Verdict::Not(format!("it holds {} request-header CAs", front_proxy.len())));
    }
    let wanted = of(TrustDomain::Cluster);
    let clients = pem_fingerprints(&extension.client_ca);
    if !fingerprints(scene, &wanted)?.is_subset(&clients) {
        return Ok(Verdict::Not("it does not hold the client CA yet".to_owned()));
    }
    // Where the new client CA is wanted alone, the old one is not wanted any more.
    let old = CaRef { domain: TrustDomain::Cluster, generation: Generation::Old };
    let drops_old = !wanted.is_empty() && !wanted.contains(&old);
    if drops_old && fingerprints(scene, &[old])?.iter().any(|fingerprint| clients.contains(fingerprint)) {
        return Ok(Verdict::Not("it still holds the old client CA".to_owned()));
    }
    Ok(Verdict::Holds(format!("{} request-header CAs, {} client CAs", front_proxy.len(), clients.len())))
}

/// Whether the API server accepts a client of that CA, and what it answered.
async fn accepts(scene: Scene<'_>, node: &NodeName, ca: CaRef) -> PortResult<(bool, String)> {
    let identity = client_of(scene, ca)?;
    let credentials = Credentials { roots: scene.credentials.roots.clone(), identity: Some(identity) };
    match scene.ports.probe.get(&Server::ApiServer(node.clone()), &credentials, "/api").await {
        // Whoever is known but may nothing gets 403; 401 means that nobody knows them.
        Ok(status) => Ok((status != 401, format!("/api answers {status}"))),
        Err(error) if error.fault == Fault::Refused => Ok((false, "it refuses the certificate".to_owned())),
        Err(error) => Err(error),
    }
}

/// A client certificate of that CA: a throw-away one where its key is known, else the administrator's.
fn client_of(scene: Scene<'_>, ca: CaRef) -> PortResult<Identity> {
    let set = match ca.generation {
        Generation::Old => &scene.vault.old,
        Generation::New => &scene.vault.new,
    };
    if let Some(issuer) = set.issuer(ca.domain).map_err(|error| own(&error))? {
        let (certificate, key) = throw_away_client(&issuer, scene.ports.clock.now())
            .map_err(|error| PortError::new(Fault::Failed, "cannot make a throw-away client", error))?;
        return Ok(Identity {
            chain: vec![certificate.der().to_vec()],
            key: pkcs8(&key).map_err(|error| own(&error))?,
        });
    }
    let administrator =
        scene.vault.administrator(&[], ca.generation, ChainForm::Bare).map_err(|error| own(&error))?;
    administrator
        .identity
        .ok_or_else(|| PortError::new(Fault::Failed, "cannot find a client certificate", "there is none"))
}

fn fingerprints(scene: Scene<'_>, cas: &[CaRef]) -> PortResult<BTreeSet<String>> {
    cas.iter()
        .map(|ca| {
            let certificate =
                scene.vault.certificate(&Part::Ca(ca.domain, ca.generation)).map_err(|error| own(&error))?;
            Ok(certificate.fingerprint().to_string())
        })
        .collect()
}

fn pem_fingerprints(pem: &str) -> BTreeSet<String> {
    parse_pem_certificates(pem)
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.fingerprint().to_string())
        .collect()
}

fn verdict(holds: bool, how: String) -> Verdict {
    if holds { Verdict::Holds(how) } else { Verdict::Not(how) }
}

fn own(error: &VaultError) -> PortError {
    PortError::new(Fault::Failed, "cannot look", error)
}
