//! Kubelets report, and nodes are Ready or not.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubecert_core::inventory::NodeStatus;
use kubecert_core::layout::windows;
use kubecert_core::model::{Component, NodeName, OperatingSystem};
use kubecert_pki::{
    Certificate, Issuer, KeyAlgorithm, KeyEncoding, PrivateKey, Serial, Template, Validity, issue,
};
use zeroize::Zeroizing;

use crate::SimError;
use crate::certs::BundleId;
use crate::files::Stored;
use crate::process::{Slot, load, sources};
use crate::world::{Event, World};

/// How long until a kubelet tries again whose report did not get through.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often it renews its Lease (`nodeLeaseDurationSeconds` 40, a quarter of it).
const RENEW: Duration = Duration::from_secs(10);
/// When the controllers give a node up that does not report (`node-monitor-grace-period`).
const GRACE: Duration = Duration::from_secs(40);
/// From its start until a kubelet reports Ready.
const READY_AFTER: Duration = Duration::from_secs(2);

impl World {
    pub(crate) fn kubelet_tick(&mut self, node: &NodeName, pid: u32) {
        let Some(started) = self.process(node, Component::Kubelet).filter(|process| process.pid == pid)
        else {
            return;
        };
        let started = started.started;
        if self.component_calls(node, Component::Kubelet).is_none() {
            self.after(TRY_AGAIN, Event::Kubelet { node: node.clone(), pid });
            return;
        }
        if !self.has_own_certificate(node) && !self.ask_for_certificate(node) {
            self.after(TRY_AGAIN, Event::Kubelet { node: node.clone(), pid });
            return;
        }
        let now = self.now;
        let ready_at = started + READY_AFTER;
        let next = if now < ready_at { ready_at } else { now + RENEW };
        self.at(next, Event::Kubelet { node: node.clone(), pid });
        let clock_error = self.clock_error(node);
        let state = self.objects.nodes.entry(node.clone()).or_default();
        state.ready = now >= ready_at;
        state.renewed = now;
        state.clock_error = clock_error;
    }

    /// Whether a kubelet has the certificate of its own that it would ask for otherwise; only those on Windows ask.
    fn has_own_certificate(&self, node: &NodeName) -> bool {
        self.machines.get(node).is_none_or(|machine| {
            machine.node.system == OperatingSystem::Linux
                || machine.disk.follow(windows::KUBELET_CLIENT).is_some()
        })
    }

    /// A kubelet asks for a client certificate, which the controller manager that leads signs at once, by what it has read.
    /// Whether there is one now.
    fn ask_for_certificate(&mut self, node: &NodeName) -> bool {
        let Some((issuer, certificate)) = self.signer() else { return false };
        let now = self.moment_at(self.now);
        let issued = client_certificate(node, issuer, now);
        let Ok((leaf, key)) = issued else { return false };
        if self.store.certificates(certificate).first().is_none_or(|ca| leaf.signed_by(ca).is_err()) {
            return false;
        }
        let number = self.machines.get(node).map_or(0, |machine| machine.log.len());
        let path = format!(r"{}\kubelet-client-{}-{number}.pem", windows::KUBELET_PKI, self.now.as_millis());
        let text = Zeroizing::new((leaf.to_pem() + &key).into_bytes());
        let access = || Some((0o644, "S-1-5-18:S-1-5-18".to_owned()));
        let written = self.write_file(node, &path, Stored::bytes(text), access());
        let linked = self.write_file(node, windows::KUBELET_CLIENT, Stored::Link(path), access());
        if written.is_err() || linked.is_err() {
            return false;
        }
        // It presents it from now on, without being started again.
        let Some(machine) = self.machines.get_mut(node) else { return false };
        let wanted = sources(Component::Kubelet, "", self.version, &machine.disk);
        let Some(source) = wanted.into_iter().find(|source| source.slot == Slot::Client) else {
            return false;
        };
        let Ok(material) = load(&source, &machine.disk, &mut self.store) else { return false };
        if let Some(process) = machine.processes.get_mut(&Component::Kubelet) {
            process.memory.insert(Slot::Client, material);
            process.sources.retain(|known| known.slot != Slot::Client);
            process.sources.push(source);
        }
        machine.log.push("kubelet got a client certificate".to_owned());
        self.dirt.node(node);
        true
    }

    /// What the controller manager that leads signs with: from its files, if they are still those that it has read.
    fn signer(&mut self) -> Option<(Issuer, BundleId)> {
        let leader = self.masters().into_iter().find(|node| {
            let pid = self.process(node, Component::ControllerManager).map(|process| process.pid);
            pid.is_some_and(|pid| self.objects.lease.holder == format!("{node}_{pid:08x}"))
        })?;
        let process = self.process(&leader, Component::ControllerManager)?;
        let read = process.memory.get(&Slot::Signer)?.certificates;
        let source = process.sources.iter().find(|source| source.slot == Slot::Signer)?;
        let disk = &self.machines.get(&leader)?.disk;
        let [certificate, key] = source.files.as_slice() else { return None };
        let certificate = Certificate::from_pem(disk.text(certificate)?).ok()?;
        let key = PrivateKey::from_pem(disk.text(key)?).ok()?;
        Some((Issuer::new(certificate, key).ok()?, read))
    }

    /// Whether the API shows a node as Ready.
    pub(crate) fn node_ready(&self, node: &NodeName) -> bool {
        self.objects.nodes.get(node).is_some_and(|state| state.ready && self.now < state.renewed + GRACE)
    }

    /// All nodes as the API knows them.
    pub(crate) fn node_statuses(&self) -> Vec<NodeStatus> {
        let status = |name: NodeName| NodeStatus {
            address: self.machines.get(&name).map(|machine| machine.address),
            operating_system: match self.machines.get(&name).map(|machine| machine.node.system) {
                Some(OperatingSystem::Windows) => "windows".to_owned(),
                _ => "linux".to_owned(),
            },
            ready: self.node_ready(&name),
            renewed: self
                .objects
                .nodes
                .get(&name)
                .map(|state| self.moment_at(state.renewed) + state.clock_error),
            name,
        };
        self.node_names().into_iter().map(status).collect()
    }
}

/// How long a certificate lasts that the controller manager signs (`--cluster-signing-duration`).
const SIGNED_FOR: SignedDuration = SignedDuration::from_hours(365 * 24);
/// By how much it is dated back (`pkg/controller/certificates/signer`).
const DATED_BACK: SignedDuration = SignedDuration::from_mins(5);

/// A kubelet's client certificate, and its key as PEM.
fn client_certificate(
    node: &NodeName,
    issuer: Issuer,
    now: Timestamp,
) -> Result<(Certificate, String), SimError> {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(SimError::pki)?;
    let template = Template::kubelet_client(node.as_str()).map_err(SimError::pki)?;
    let ends = (now + SIGNED_FOR).min(issuer.certificate().not_after());
    let validity = Validity::new(now - DATED_BACK, ends).map_err(SimError::pki)?;
    let serial = Serial::random().map_err(SimError::pki)?;
    let leaf = issue(&template, key.public_key(), &issuer, validity, &serial).map_err(SimError::pki)?;
    let pem = key.to_pem(KeyEncoding::Pkcs1OrSec1).map_err(SimError::pki)?.expose().to_owned();
    Ok((leaf, pem))
}
