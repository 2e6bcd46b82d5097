//! How processes start, stop, and come to know of changed files.

use std::time::Duration;

use kubecert_core::layout::{KUBELET_PKI, manifest_file, windows};
use kubecert_core::model::{Component, NodeName};
use kubecert_engine::ports::{Fault, PortError, PortResult};
use zeroize::Zeroizing;

use crate::certs::{BundleId, Material};
use crate::files::{File, Stored};
use crate::process::{
    Loading, Process, Slot, Source, WATCH_DELAY, definition_file, is_static_pod, load, load_all, sources,
};
use crate::world::{DivertedTo, Event, FromDisk, World};

/// From the end of a static pod's process to the start of the next: kubelet sees the container end and runs another one
/// (0.4 to 0.9 s measured).
const STATIC_POD_RESTART: Duration = Duration::from_millis(600);
/// From a changed manifest to the end of the old process, if nobody ends it sooner.
const MANIFEST_NOTICED: Duration = Duration::from_millis(1000);
/// From the end of a unit's process to the start of the next.
const UNIT_RESTART: Duration = Duration::from_millis(100);
/// Kubelet's and systemd's back-off for a process that cannot start.
const CRASH_BACK_OFF: Duration = Duration::from_secs(5);
/// How long a machine takes to boot, much shortened.
pub(crate) const BOOT: Duration = Duration::from_secs(12);
/// How often `health-monitor.sh` of AKS engine looks.
pub(crate) const HEALTH_CHECK_PERIOD: Duration = Duration::from_secs(10);

impl World {
    /// How long after its start a process serves (measured: kube-apiserver 5.4 to 7.5 s, etcd 1.5 s).
    pub(crate) const fn warm_up(component: Component) -> Duration {
        match component {
            Component::Etcd => Duration::from_millis(1400),
            Component::ApiServer => Duration::from_millis(5200),
            Component::Kubelet => Duration::from_millis(400),
            Component::ControllerManager | Component::Scheduler | Component::KubeProxy => {
                Duration::from_millis(1000)
            }
        }
    }

    /// Whether a process listens.
    pub(crate) fn listens(&self, node: &NodeName, component: Component) -> bool {
        self.process(node, component)
            .is_some_and(|process| self.now >= process.started + Self::warm_up(component))
    }

    /// Writes a file atomically. Returns whether it already held this.
    pub(crate) fn write_file(
        &mut self,
        node: &NodeName,
        path: &str,
        content: Stored,
        access: Option<(u32, String)>,
    ) -> PortResult<bool> {
        let now = self.now;
        let machine = self.machines.get_mut(node).ok_or_else(|| unknown(node))?;
        let there = machine.disk.entry(path);
        let unchanged = there.is_some_and(|file| file.content == content);
        let (mode, owner) = access
            .or_else(|| there.map(|file| (file.mode, file.owner.clone())))
            .unwrap_or_else(|| (0o644, "root:root".to_owned()));
        let (modified, clock_error) = match there {
            Some(file) if unchanged => (file.modified, file.clock_error),
            _ => (now, machine.clock_error()),
        };
        machine.disk.put(path, File { content, mode, owner, modified, clock_error });
        if !unchanged {
            self.changed(node, path);
        }
        Ok(unchanged)
    }

    /// Puts a file back as it was backed up.
    pub(crate) fn restore_file(&mut self, node: &NodeName, run: &str, path: &str) -> PortResult<bool> {
        let machine = self.machines.get(node).ok_or_else(|| unknown(node))?;
        let key = (run.to_owned(), path.to_owned());
        let Some(original) = machine.backups.get(&key).cloned() else {
            let what = format!("cannot restore {path} on {node}");
            return Err(PortError::new(Fault::Failed, what, "it was not backed up in this run"));
        };
        match original {
            Some(file) => self.write_file(node, path, file.content, Some((file.mode, file.owner))),
            None => Ok(self.remove_file(node, path)?.is_empty()),
        }
    }

    /// Removes a file or a directory.
    pub(crate) fn remove_file(&mut self, node: &NodeName, path: &str) -> PortResult<Vec<String>> {
        let gone = self.machines.get_mut(node).ok_or_else(|| unknown(node))?.disk.remove(path);
        for path in &gone {
            self.changed(node, path);
        }
        Ok(gone)
    }

    /// Tells everybody on the node who looks at that file.
    fn changed(&mut self, node: &NodeName, path: &str) {
        self.dirt.node(node);
        let mut due = Vec::new();
        let Some(machine) = self.machines.get_mut(node) else { return };
        // Behind a link that changed may be anything.
        let link = path.starts_with(KUBELET_PKI) || path.starts_with(windows::KUBELET_PKI);
        machine.from_disk.retain(|_, from| !link && !from.paths.iter().any(|known| known == path));
        for (component, process) in &machine.processes {
            for source in process.sources.iter().filter(|source| source.files.iter().any(|file| file == path))
            {
                let when = match source.loading {
                    Loading::Watched => self.now + WATCH_DELAY,
                    Loading::Polled(period) => next_poll(process.started, period, self.now),
                    Loading::AtStart | Loading::PerHandshake => continue,
                };
                let (node, component, pid, slot) = (node.clone(), *component, process.pid, source.slot);
                due.push((when, Event::Reload { node, component, pid, slot }));
            }
        }
        for component in [Component::ApiServer, Component::ControllerManager, Component::Scheduler] {
            if path == manifest_file(component) {
                due.push((self.now + MANIFEST_NOTICED, Event::StaticPod { node: node.clone(), component }));
            }
        }
        for (when, event) in due {
            self.at(when, event);
        }
        self.node_file_changed(node, path);
    }

    /// A process reads one of its files again; what does not fit together is not taken (T5).
    pub(crate) fn reload(&mut self, node: &NodeName, component: Component, pid: u32, slot: Slot) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let Some(process) = machine.processes.get_mut(&component).filter(|process| process.pid == pid) else {
            return;
        };
        let Some(source) = process.sources.iter().find(|source| source.slot == slot) else { return };
        match load(source, &machine.disk, &mut self.store) {
            Ok(material) => {
                if process.memory.insert(slot, material.clone()) != Some(material) {
                    self.dirt.node(node);
                    if component == Component::ApiServer
                        && matches!(slot, Slot::ClientCa | Slot::RequestHeaderCa)
                    {
                        self.after(Duration::from_millis(200), Event::Extension { node: node.clone() });
                    }
                }
            }
            // A signer that is no single certificate any more stops signing; everything else keeps what it had.
            Err(_) if slot == Slot::Signer => {
                process.memory.remove(&slot);
            }
            Err(_) => {}
        }
    }

    /// What a process holds, or would hold after a restart at this instant.
    pub(crate) fn held(
        &mut self,
        node: &NodeName,
        component: Component,
        slot: Slot,
        fresh: Fresh,
    ) -> Option<&Material> {
        let machine = self.machines.get_mut(node)?;
        let process = machine.processes.get(&component)?;
        if fresh == Fresh::Running
            && let Some(held) = process.memory.get(&slot)
        {
            return Some(held);
        }
        let disk = &machine.disk;
        let store = &mut self.store;
        let version = self.version;
        let found = machine.from_disk.entry((component, fresh)).or_insert_with(|| {
            let definition_path = definition_file(component);
            let wanted = match fresh {
                Fresh::Restarted => {
                    let definition = disk.text(&definition_path).unwrap_or_default();
                    sources(component, definition, version, disk)
                }
                Fresh::Running => {
                    let read_again = |source: &&Source| source.loading == Loading::PerHandshake;
                    process.sources.iter().filter(read_again).cloned().collect()
                }
            };
            let mut paths: Vec<String> =
                wanted.iter().flat_map(|source| source.files.iter().cloned()).collect();
            paths.push(definition_path);
            let loaded =
                wanted.iter().filter_map(|source| Some((source.slot, load(source, disk, store).ok()?)));
            FromDisk { loaded: loaded.collect(), paths }
        });
        found.loaded.get(&slot)
    }

    /// The certificates of a slot of a running process.
    pub(crate) fn loaded(&mut self, node: &NodeName, component: Component, slot: Slot) -> BundleId {
        self.held(node, component, slot, Fresh::Running).map_or(BundleId::EMPTY, |held| held.certificates)
    }

    pub(crate) fn start_if_wanted(&mut self, node: &NodeName, component: Component, epoch: u64) {
        let Some(machine) = self.machines.get(node) else { return };
        let wanted = machine.epochs.get(&component).copied().unwrap_or_default() == epoch;
        let held = machine.ailments.holds(component);
        let supervised = !is_static_pod(component) || machine.processes.contains_key(&Component::Kubelet);
        if wanted && supervised && !held && !machine.processes.contains_key(&component) {
            self.start_process(node, component);
        }
    }

    /// Starts a component with what is on disk now; if that is unusable, tries again later.
    fn start_process(&mut self, node: &NodeName, component: Component) {
        self.dirt.node(node);
        let version = self.version;
        let now = self.now;
        let Some(machine) = self.machines.get_mut(node) else { return };
        let definition = machine.disk.text(&definition_file(component)).unwrap_or_default().to_owned();
        let sources = sources(component, &definition, version, &machine.disk);
        let memory = match load_all(&sources, &machine.disk, &mut self.store) {
            Ok(memory) => memory,
            Err(error) => {
                machine.log.push(format!("{component} cannot start: {}", error.0));
                let epoch = machine.epochs.get(&component).copied().unwrap_or_default();
                let event = Event::Start { node: node.clone(), component, epoch };
                self.violate(format!("{component} on {node} cannot start: {}", error.0));
                self.after(CRASH_BACK_OFF, event);
                return;
            }
        };
        machine.last_pid += 1;
        let pid = machine.last_pid;
        let first_client_ca = memory.get(&Slot::ClientCa).cloned().unwrap_or_else(Material::empty);
        let process =
            Process { pid, started: now, definition, sources, memory, first_client_ca, controllers: None };
        machine.processes.insert(component, process);
        machine.from_disk.retain(|(of, _), _| *of != component);
        let node = node.clone();
        let warm_up = Self::warm_up(component);
        self.may_crash(&node, component, pid);
        match component {
            Component::ApiServer => self.after(warm_up + Duration::from_secs(1), Event::Extension { node }),
            Component::ControllerManager => self.after(warm_up, Event::ControllerManager { node, pid }),
            Component::Kubelet => {
                self.after(warm_up, Event::Kubelet { node: node.clone(), pid });
                for component in [Component::ApiServer, Component::ControllerManager, Component::Scheduler] {
                    self.after(warm_up, Event::StaticPod { node: node.clone(), component });
                }
            }
            Component::Etcd | Component::Scheduler | Component::KubeProxy => {}
        }
    }

    /// Ends a component's process.
    pub(crate) fn stop_process(&mut self, node: &NodeName, component: Component) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        *machine.epochs.entry(component).or_default() += 1;
        if machine.processes.remove(&component).is_some() {
            machine.ended.insert(component, self.now);
            machine.from_disk.retain(|(of, _), _| *of != component);
            self.dirt.node(node);
            if component == Component::Etcd {
                self.etcd.forget(node);
            }
        }
    }

    /// Ends a component's process; whoever watches over it starts it again.
    pub(crate) fn restart_process(&mut self, node: &NodeName, component: Component) {
        self.stop_process(node, component);
        let delay = if is_static_pod(component) { STATIC_POD_RESTART } else { UNIT_RESTART };
        self.start_after(node, component, delay);
    }

    pub(crate) fn start_after(&mut self, node: &NodeName, component: Component, delay: Duration) {
        let Some(machine) = self.machines.get(node) else { return };
        let epoch = machine.epochs.get(&component).copied().unwrap_or_default();
        self.after(delay, Event::Start { node: node.clone(), component, epoch });
    }

    /// Kubelet: what runs must be what the manifest says.
    pub(crate) fn sync_static_pod(&mut self, node: &NodeName, component: Component) {
        let Some(machine) = self.machines.get(node) else { return };
        if !machine.processes.contains_key(&Component::Kubelet) {
            return;
        }
        let wanted = machine.disk.text(&manifest_file(component));
        match (machine.processes.get(&component), wanted) {
            (Some(process), Some(text)) if process.definition == text => {}
            (None, None) => {}
            (Some(_), Some(_)) => self.restart_process(node, component),
            (Some(_), None) => self.stop_process(node, component),
            (None, Some(_)) => self.start_after(node, component, STATIC_POD_RESTART),
        }
    }

    pub(crate) fn divert(&mut self, node: &NodeName, to: &NodeName, expires: Duration) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.timers += 1;
        let timer = machine.timers;
        machine.diversion = Some(DivertedTo { node: to.clone(), timer });
        self.after(expires, Event::DiversionEnds { node: node.clone(), timer });
    }

    pub(crate) fn end_diversion(&mut self, node: &NodeName, timer: u64) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        if machine.diversion.as_ref().is_some_and(|diversion| diversion.timer == timer) {
            machine.diversion = None;
        }
    }

    /// A timer on the node starts paused units; those that run already are left alone.
    pub(crate) fn timer_resumes(&mut self, node: &NodeName, units: &[String]) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        for unit in units {
            machine.units.insert(unit.clone(), true);
        }
    }

    /// AKS engine's health monitors end a service that fails two checks in a row.
    pub(crate) fn health_check(&mut self, node: &NodeName) {
        self.after(HEALTH_CHECK_PERIOD, Event::HealthCheck { node: node.clone() });
        let checks =
            [("etcd-monitor.service", Component::Etcd), ("apiserver-monitor.service", Component::ApiServer)];
        for (unit, component) in checks {
            let healthy = self.listens(node, component);
            let Some(machine) = self.machines.get_mut(node) else { return };
            if !machine.units.get(unit).copied().unwrap_or_default() {
                machine.failed_checks.remove(unit);
                continue;
            }
            let failed = machine.failed_checks.entry(unit.to_owned()).or_default();
            *failed = if healthy { 0 } else { *failed + 1 };
            if *failed >= 2 {
                *failed = 0;
                self.restart_process(node, component);
            }
        }
    }
}

/// Whether something is looked at as it runs, or as it would be after a restart at this instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fresh {
    /// What is in memory.
    Running,
    /// What is on disk.
    Restarted,
}

/// The bytes of a file.
pub(crate) fn bytes(content: impl Into<Vec<u8>>) -> Stored {
    Stored::bytes(Zeroizing::new(content.into()))
}

pub(crate) fn unknown(node: &NodeName) -> PortError {
    PortError::new(Fault::Unreachable, format!("cannot connect to {node}"), "there is no such node")
}

/// The first poll after now of something that polls every `period` since `started`.
pub(crate) fn next_poll(started: Duration, period: Duration, now: Duration) -> Duration {
    let rounds = now.saturating_sub(started).as_millis() / period.as_millis().max(1) + 1;
    started + period * u32::try_from(rounds).unwrap_or(u32::MAX)
}
