//! Turns the action of a step into calls on ports.

use std::time::Duration;

use kubecert_core::inventory::{CaRef, WorkloadKind};
use kubecert_core::layout;
use kubecert_core::material::{ChainForm, Content, Part, chain};
use kubecert_core::model::{Component, Generation, LeafId, NodeName, TrustDomain};
use kubecert_core::plan::{Action, ApiObject, FileWrite, Step, Target};
use zeroize::Zeroizing;

use crate::kubeconfig::{KubeconfigError, replace_credentials, replace_roots};
use crate::ports::{
    Credentials, Diversion, ExtensionAuthentication, Fault, FileBytes, FileContent, Identity, PortError,
    PortResult, StartedBy,
};
use crate::predicate;
use crate::run::{Context, Errand};
use crate::vault::{VaultError, pkcs8};

/// How long requests in flight may take before an API server that is being replaced is ended: new connections go to a
/// neighbour by then, and what takes longer is a watch, which its client takes up again elsewhere.
const GRACE: Duration = Duration::from_secs(1);
/// After what time a node itself takes a diversion away if kubecert is no more: longer than a visit may last
/// (an API server may take three minutes to start), short enough that a forgotten diversion does not outlive the
/// operator's attention.
const DIVERSION_EXPIRES: Duration = Duration::from_secs(600);
/// After what time a node starts its monitors again by itself.
const PAUSE_EXPIRES: Duration = Duration::from_secs(3_600);

/// Does a step and returns what shows that it is done. A process that it restarts has to be younger than the files
/// `younger_than`; `waiting` is told what it waits for.
///
/// # Errors
///
/// Fails with what a port said, or with what did not come to hold in time.
pub(crate) async fn perform(
    context: &Context,
    step: &Step,
    younger_than: &[String],
    waiting: &mut (dyn FnMut(String) + Send),
) -> PortResult<String> {
    match &step.target {
        Target::Node(node) => on_node(context, step, node, younger_than, waiting).await,
        Target::Api | Target::Etcd | Target::Operator => elsewhere(context, step, waiting).await,
    }
}

async fn on_node(
    context: &Context,
    step: &Step,
    node: &NodeName,
    younger_than: &[String],
    waiting: &mut (dyn FnMut(String) + Send),
) -> PortResult<String> {
    let nodes = &context.ports.nodes;
    let run = context.run.run();
    match &step.action {
        Action::BackUp { paths } => {
            nodes.back_up(node, run, paths).await?;
            Ok(format!("{} files", paths.len()))
        }
        Action::Write { files } => {
            let mut bytes = Vec::with_capacity(files.len());
            for file in files {
                bytes.push(resolve(context, node, file).await?);
            }
            let written = nodes.write(node, run, bytes).await?;
            let changed = written.iter().filter(|file| !file.unchanged).count();
            Ok(format!("{changed} of {} files changed, digests read back", written.len()))
        }
        Action::Remove { paths } => {
            nodes.remove(node, paths).await?;
            Ok(paths.join(", "))
        }
        Action::PauseUnits { units } => {
            nodes.pause_units(node, units, PAUSE_EXPIRES).await?;
            Ok(units.join(", "))
        }
        Action::ResumeUnits { units } => {
            nodes.resume_units(node, units).await?;
            Ok(units.join(", "))
        }
        Action::Divert { from, to, port } => {
            let diversion = Diversion { from: *from, to: *to, port: *port, expires: DIVERSION_EXPIRES };
            nodes.divert(node, &diversion).await?;
            Ok(format!("{from}:{port} to {to}:{port}"))
        }
        Action::Undivert => {
            nodes.undivert(node).await?;
            Ok("no rule left".to_owned())
        }
        Action::ReplaceStaticPod { component, path, manifest } => {
            let file = FileWrite { path: path.clone(), content: manifest.clone(), access: None };
            let bytes = resolve(context, node, &file).await?;
            let grace = if *component == Component::ApiServer { GRACE } else { Duration::ZERO };
            let mut process = nodes.replace_static_pod(node, run, *component, bytes, grace).await?;
            // One whose manifest was in place already is left alone. It may still be older than what it reads, where files
            // were changed under it or the node's clock was set.
            if predicate::is_stale(&context.ports, node, *component, younger_than).await? {
                process = nodes.end_process(node, *component).await?;
            }
            Ok(format!("process {} since {}", process.pid, process.started))
        }
        Action::EndProcess { component } => {
            if *component == Component::Etcd && context.errand.is_guarded() {
                others_healthy(context, node, waiting).await?;
            }
            let process = nodes.end_process(node, *component).await?;
            Ok(format!("process {} since {}", process.pid, process.started))
        }
        Action::RestartUnit { unit, component } => {
            if *component == Component::Etcd && context.errand.is_guarded() {
                others_healthy(context, node, waiting).await?;
            }
            let process = nodes.restart_unit(node, unit, *component).await?;
            Ok(format!("process {} since {}", process.pid, process.started))
        }
        Action::StartAfresh { unit, component, forget } => {
            let (process, by) = nodes.start_afresh(node, unit, *component, forget).await?;
            let how = match by {
                StartedBy::Restart => "",
                StartedBy::NodeReset => {
                    "; the node's network was reset, since the service alone did not bring it about"
                }
            };
            Ok(format!("process {} since {}{how}", process.pid, process.started))
        }
        Action::YieldEtcdLeadership { to } => {
            context.ports.etcd.yield_leadership(node, to).await?;
            Ok(format!("not led from {node}"))
        }
        _ => elsewhere(context, step, waiting).await,
    }
}

async fn elsewhere(
    context: &Context,
    step: &Step,
    waiting: &mut (dyn FnMut(String) + Send),
) -> PortResult<String> {
    let api = &context.ports.api;
    // Of the step and not of the run alone: a plan may restart a workload twice, and what bears a stamp is left alone.
    let stamp = &format!("{}-{}", context.run.run(), step.id.0);
    if let Some(object) = changed_object(&step.action) {
        api.remember(&object, &context.run).await?;
    }
    match &step.action {
        Action::Await { predicates } => {
            let patience = Duration::from_secs(u64::from(step.patience.timeout_s));
            let credentials = context.credentials();
            let scene =
                predicate::Scene { ports: &context.ports, vault: &context.vault, credentials: &credentials };
            predicate::wait(scene, predicates, patience, |missing| waiting(missing.join("; ")))
                .await
                .map(|evidence| evidence.join("; "))
                .map_err(|missing| {
                    PortError::new(Fault::Timeout, "this does not come to hold", missing.join("; "))
                })
        }
        Action::UseCredentials { roots, identity, form } => {
            use_credentials(context, roots, *identity, *form).await?;
            Ok("set".to_owned())
        }
        Action::WriteOperatorFiles => {
            context.operator.write(&context.vault).await?;
            Ok("written".to_owned())
        }
        Action::ShareFrontProxy => share_front_proxy(context).await,
        Action::WriteTlsSecret { secret, leaf, form } => {
            let vault = &context.vault;
            let text = |bytes: Zeroizing<Vec<u8>>| String::from_utf8_lossy(&bytes).into_owned();
            let parts = chain(leaf, TrustDomain::Cluster, *form);
            let key = Part::LeafKey(leaf.clone(), Generation::New);
            let root = vault.authority(TrustDomain::Cluster, Generation::New);
            let chain = text(vault.pem(&parts).map_err(own)?);
            let key = Zeroizing::new(text(vault.pem(&[key]).map_err(own)?));
            let roots = text(vault.pem(&[root]).map_err(own)?);
            api.write_tls_secret(secret, &chain, &key, &roots).await?;
            Ok("written".to_owned())
        }
        Action::SetCaBundle { holder, roots } => {
            let pem = context.vault.pem(roots).map_err(own)?;
            api.set_ca_bundle(holder, &String::from_utf8_lossy(&pem)).await?;
            Ok(format!("{} roots", roots.len()))
        }
        Action::PublishClusterInfo { roots } => {
            let pem = context.vault.pem(roots).map_err(own)?;
            let there = api.publish_cluster_info(&String::from_utf8_lossy(&pem)).await?;
            Ok(if there { format!("{} roots", roots.len()) } else { "there is none".to_owned() })
        }
        Action::Roll { workload } => {
            api.restart(workload, stamp).await?;
            roll_out(context, step, waiting).await
        }
        Action::RecreatePod { pod } => {
            api.recreate_pod(pod, stamp, &context.run).await?;
            Ok("Ready again".to_owned())
        }
        Action::RenewTokenSecret { secret } => {
            api.renew_token_secret(secret, stamp).await?;
            Ok("signed anew".to_owned())
        }
        Action::PutBack { object } => {
            api.put_back(object, context.first_begun(step.id), &context.run).await?;
            Ok("as it was".to_owned())
        }
        Action::RebuildExtensionAuthentication => {
            let only = extension_authentication(context).await?;
            api.rebuild_extension_authentication(&only).await?;
            Ok("written anew".to_owned())
        }
        Action::ReleaseLease => {
            let former = predicate::former_leader(&context.ports).await?;
            let Some(holder) = former else {
                return Ok("a controller manager that runs holds it".to_owned());
            };
            api.release_controller_manager_lease(&holder).await?;
            Ok(format!("released for {holder}, which has ended"))
        }
        other => {
            Err(PortError::new(Fault::Failed, "cannot carry out the plan", format!("{other:?} needs a node")))
        }
    }
}

/// The object that an action changes, so that it can be put back.
fn changed_object(action: &Action) -> Option<ApiObject> {
    match action {
        Action::WriteTlsSecret { secret, .. } => Some(ApiObject::TlsSecret(secret.clone())),
        Action::RenewTokenSecret { secret } => Some(ApiObject::TokenSecret(secret.clone())),
        Action::SetCaBundle { holder, .. } => Some(ApiObject::CaBundle(holder.clone())),
        Action::Roll { workload } => Some(ApiObject::Workload(workload.clone())),
        Action::PublishClusterInfo { .. } => Some(ApiObject::ClusterInfo),
        _ => None,
    }
}

/// Waits until every other etcd member answers. A plan has its gates, but a run may have been cut off behind one, and a
/// member may have died since: then a restart would cost the quorum.
async fn others_healthy(
    context: &Context,
    node: &NodeName,
    waiting: &mut (dyn FnMut(String) + Send),
) -> PortResult<()> {
    /// A member that was restarted by its supervisor is back by then.
    const PATIENCE_MS: u64 = 60_000;
    /// How long between two looks.
    const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
    let began = context.ports.clock.now();
    loop {
        let members = context.ports.etcd.members().await?;
        let away: Vec<&str> = members
            .iter()
            .filter(|member| !member.healthy && member.name != node.as_str())
            .map(|member| member.name.as_str())
            .collect();
        if away.is_empty() {
            return Ok(());
        }
        let away = away.join(", ");
        if context.ms_since(began) > PATIENCE_MS {
            let what = format!("cannot restart etcd on {node}");
            return Err(PortError::new(Fault::Refused, what, format!("etcd on {away} does not answer"))
                .remedy("Bring that member back first; restarting another one would cost the quorum."));
        }
        waiting(format!("etcd on {away} answers"));
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// Waits until a workload's rollout is complete.
async fn roll_out(
    context: &Context,
    step: &Step,
    waiting: &mut (dyn FnMut(String) + Send),
) -> PortResult<String> {
    use crate::ports::Rollout;
    let left = &context.decisions.leave_behind;
    /// How long between two looks at a rollout: pods take seconds to start.
    const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
    let Action::Roll { workload } = &step.action else { return Ok(String::new()) };
    loop {
        let rollout = if left.is_empty() || workload.kind != WorkloadKind::DaemonSet {
            context.ports.api.rollout(workload).await?
        } else {
            // A node that is away uses up the DaemonSet's whole allowance of unavailable pods.
            let created_before = context.first_begun(step.id);
            context.ports.api.replace_daemon_pods(workload, created_before, left).await?
        };
        match rollout {
            Rollout::Complete => return Ok("rolled out".to_owned()),
            Rollout::Under(what) => waiting(what),
        }
        // The step's own patience ends this loop.
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// Sets the credentials that kubecert uses, with those that may be needed where a server is not that far as fallback.
async fn use_credentials(
    context: &Context,
    roots: &[CaRef],
    identity: Generation,
    form: ChainForm,
) -> PortResult<()> {
    let of = |domain| -> Vec<Part> {
        let wanted = roots.iter().filter(|ca| ca.domain == domain);
        wanted.map(|ca| Part::Ca(ca.domain, ca.generation)).collect()
    };
    let (parts, of_etcd) = (of(TrustDomain::Cluster), of(context.cluster.layout.etcd_domain()));
    let vault = &context.vault;
    let wanted = vault.administrator(&parts, identity, form).map_err(own)?;
    let mut for_api = vec![wanted.clone()];
    let mut for_etcd = vec![etcd_client(context, &of_etcd, identity)?];
    // While the old CA is trusted the old identity is a way in, for servers that do not accept the new one yet.
    if roots.iter().any(|ca| ca.generation == Generation::Old) && identity == Generation::New {
        for_api.push(vault.administrator(&parts, Generation::Old, form).map_err(own)?);
        for_etcd.push(etcd_client(context, &of_etcd, Generation::Old)?);
    }
    context.ports.api.use_credentials(for_api).await?;
    context.ports.etcd.use_credentials(for_etcd).await?;
    context.set_credentials(wanted);
    Ok(())
}

/// etcd's client credentials. The cross certificate goes along whenever there is one: etcd's trust changes only when it
/// is restarted, and who trusts the new CA does not mind.
pub(crate) fn etcd_client(
    context: &Context,
    roots: &[Part],
    identity: Generation,
) -> PortResult<Credentials> {
    let vault = &context.vault;
    let leaf = LeafId::from("etcdclient");
    let identity = vault.leaf_generation(&leaf, identity);
    let mut chain = vec![vault.certificate(&Part::Leaf(leaf.clone(), identity)).map_err(own)?.der().to_vec()];
    if identity == Generation::New
        && let Some(cross) = vault.cross.get(&context.cluster.layout.etcd_domain())
    {
        chain.push(cross.der().to_vec());
    }
    let key = pkcs8(vault.key(&Part::LeafKey(leaf, identity)).map_err(own)?).map_err(own)?;
    let roots = roots
        .iter()
        .map(|root| Ok(vault.certificate(root).map_err(own)?.der().to_vec()))
        .collect::<PortResult<_>>()?;
    Ok(Credentials { roots, identity: Some(Identity { chain, key }) })
}

/// Writes the three keys from which a rebooted master of AKS engine takes its front-proxy files. The leading space of
/// each value is what its script writes and strips (`generate-proxy-certs.sh`).
async fn share_front_proxy(context: &Context) -> PortResult<String> {
    let leaf = layout::front_proxy();
    let value = |part: Part| -> PortResult<Zeroizing<Vec<u8>>> {
        let pem = context.vault.pem(&[part]).map_err(own)?;
        Ok(Zeroizing::new([b" ".as_slice(), &pem].concat()))
    };
    let pairs = [
        (
            "/proxycerts/requestheader-client-ca-file".to_owned(),
            value(Part::Ca(TrustDomain::FrontProxy, Generation::New))?,
        ),
        (
            "/proxycerts/proxy-client-key-file".to_owned(),
            value(Part::LeafKey(leaf.clone(), Generation::New))?,
        ),
        ("/proxycerts/proxy-client-cert-file".to_owned(), value(Part::Leaf(leaf, Generation::New))?),
    ];
    context.ports.etcd.put(&pairs).await?;
    Ok("three keys below /proxycerts".to_owned())
}

/// The bytes of a planned file.
async fn resolve(context: &Context, node: &NodeName, file: &FileWrite) -> PortResult<FileBytes> {
    let bytes = match &file.content {
        Content::Link(target) => FileContent::Link(target.clone()),
        Content::Original => FileContent::Original,
        Content::Kubeconfig { roots, chain, key } => {
            let pem = |parts: &[Part]| context.vault.pem(parts).map_err(own);
            let (roots, chain, key) = (pem(roots)?, pem(chain)?, pem(std::slice::from_ref(key))?);
            edited(context, node, file, |present| replace_credentials(present, &roots, &chain, &key)).await?
        }
        Content::KubeconfigRoots(roots) => {
            let roots = context.vault.pem(roots).map_err(own)?;
            edited(context, node, file, |present| replace_roots(present, &roots)).await?
        }
        content => FileContent::Bytes(context.vault.bytes(content).map_err(own)?),
    };
    Ok(FileBytes { path: file.path.clone(), bytes, access: file.access.clone() })
}

/// What a file that is there becomes by an edit.
async fn edited(
    context: &Context,
    node: &NodeName,
    file: &FileWrite,
    edit: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, KubeconfigError>,
) -> PortResult<FileContent> {
    let failed = |cause: &dyn std::fmt::Display| {
        PortError::new(Fault::Failed, format!("cannot edit {} on {node}", file.path), cause)
    };
    let present = context.ports.nodes.read(node, &file.path).await?;
    let present = present.ok_or_else(|| failed(&"it is not there"))?;
    edit(&present).map(FileContent::Bytes).map_err(|error| failed(&error))
}

fn own(error: VaultError) -> PortError {
    PortError::new(Fault::Failed, "cannot take from the vault", crate::issue::chain(&error))
}

/// What is left of `extension-apiserver-authentication`: the CAs that stay when the run, or its undoing, is through. Where
/// the run knows no CA of a kind, all of that kind stay.
async fn extension_authentication(context: &Context) -> PortResult<ExtensionAuthentication> {
    let generation = if context.errand == Errand::Undo { Generation::Old } else { Generation::New };
    let staying = |domain| {
        let part = context.vault.authority(domain, generation);
        context.vault.certificate(&part).map(kubecert_pki::Certificate::to_pem).ok()
    };
    let there = context.ports.api.extension_authentication().await?.unwrap_or_default();
    Ok(ExtensionAuthentication {
        client_ca: staying(TrustDomain::Cluster).unwrap_or(there.client_ca),
        requestheader_client_ca: staying(TrustDomain::FrontProxy).unwrap_or(there.requestheader_client_ca),
    })
}
