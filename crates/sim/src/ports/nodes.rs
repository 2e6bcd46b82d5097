//! Nodes: files, processes, units, diversions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kubecert_core::inventory::{FileFacts, NodeFacts, ProcessFacts};
use kubecert_core::layout::{is_staged, manifest_file};
use kubecert_core::model::{Component, NodeName, RunId};
use kubecert_core::plan::Access;
use kubecert_engine::ports::{
    AuditedClient, Diversion, Fault, FileBytes, FileContent, NodeQuestion, Nodes, PortError, PortResult,
    StartedBy, Stream, WrittenFile,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::cluster::{Shared, unreachable};
use crate::files::Stored;
use crate::lifecycle::unknown;
use crate::world::{Event, World};

/// A short command over an SSH session that is open.
const COMMAND: Duration = Duration::from_millis(80);
/// A look at some dozens of files and at processes.
const LOOK: Duration = Duration::from_millis(200);
/// An upload with its syncs.
const WRITE: Duration = Duration::from_millis(250);
/// Opening a session through the bastion.
const CONNECT: Duration = Duration::from_millis(400);
/// How long a process may take to appear, or etcd to join.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// What a node of a fresh cluster has free.
const FREE_BYTES: u64 = 20 * 1024 * 1024 * 1024;

/// The nodes.
pub(crate) struct SimNodes {
    shared: Arc<Shared>,
}

impl SimNodes {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Waits until another process of that component runs than the one with that id.
    async fn wait_for_other(
        &self,
        node: &NodeName,
        component: Component,
        old: Option<u32>,
    ) -> PortResult<ProcessFacts> {
        let what = format!("cannot see {component} start on {node}");
        self.shared
            .wait_until(&what, START_PATIENCE, |world| {
                if !world.reachable(node) {
                    return Err(unreachable(&what));
                }
                let Some(process) = world.process(node, component) else { return Ok(None) };
                let notified = component != Component::Etcd || world.etcd_healthy(node);
                let is_there = Some(process.pid) != old && notified;
                Ok(if is_there { process_facts(world, node, component) } else { None })
            })
            .await
    }
}

#[async_trait]
impl Nodes for SimNodes {
    async fn connect(&self, node: &NodeName) -> PortResult<()> {
        let what = format!("cannot connect to {node}");
        self.shared.call_on(node, &what, CONNECT, |world| known(world, node)).await
    }

    async fn look(&self, node: &NodeName, question: &NodeQuestion) -> PortResult<NodeFacts> {
        let what = format!("cannot look at {node}");
        self.shared.call_on(node, &what, LOOK, |world| look(world, node, question)).await
    }

    async fn read(&self, node: &NodeName, path: &str) -> PortResult<Option<Zeroizing<Vec<u8>>>> {
        let what = format!("cannot read {path} on {node}");
        self.shared
            .call_on(node, &what, COMMAND, |world| {
                let machine = world.machines.get(node).ok_or_else(|| unknown(node))?;
                Ok(machine.disk.bytes(path).map(|bytes| Zeroizing::new(bytes.to_vec())))
            })
            .await
    }

    async fn back_up(&self, node: &NodeName, run: &RunId, paths: &[String]) -> PortResult<()> {
        let what = format!("cannot back up files on {node}");
        self.shared
            .call_on(node, &what, WRITE, |world| {
                let machine = world.machines.get_mut(node).ok_or_else(|| unknown(node))?;
                if machine.ailments.disk_full > 0 {
                    return Err(no_space(&what));
                }
                for path in paths {
                    let key = (run.to_string(), path.clone());
                    let file = machine.disk.entry(path).cloned();
                    machine.backups.entry(key).or_insert(file);
                }
                machine.log.push(format!("backed {} files up", paths.len()));
                Ok(())
            })
            .await
    }

    async fn write(
        &self,
        node: &NodeName,
        run: &RunId,
        files: Vec<FileBytes>,
    ) -> PortResult<Vec<WrittenFile>> {
        let what = format!("cannot write files on {node}");
        self.shared
            .call_on(node, &what, WRITE, |world| {
                // The adapter's script makes everything ready and only then renames, so that a key and its certificate
                // are apart for the moment between two system calls only, and a full disk changes nothing.
                if world.machines.get(node).is_some_and(|machine| machine.ailments.disk_full > 0) {
                    return Err(no_space(&what));
                }
                let mut written = Vec::with_capacity(files.len());
                for file in files {
                    written.push(write_one(world, node, run, file)?);
                }
                if let Some(machine) = world.machines.get_mut(node) {
                    let changed = written.iter().filter(|file| !file.unchanged).count();
                    machine.log.push(format!("wrote {changed} of {} files", written.len()));
                }
                Ok(written)
            })
            .await
    }

    async fn remove(&self, node: &NodeName, paths: &[String]) -> PortResult<()> {
        let what = format!("cannot remove files on {node}");
        self.shared
            .call_on(node, &what, COMMAND, |world| {
                known(world, node)?;
                for path in paths {
                    world.remove_file(node, path)?;
                    // Backups lie below the stage.
                    if is_staged(path)
                        && let Some(machine) = world.machines.get_mut(node)
                    {
                        machine.backups.clear();
                    }
                }
                Ok(())
            })
            .await
    }

    async fn pause_units(&self, node: &NodeName, units: &[String], expires: Duration) -> PortResult<()> {
        let what = format!("cannot pause units on {node}");
        self.shared
            .call_on(node, &what, COMMAND, |world| {
                let machine = world.machines.get_mut(node).ok_or_else(|| unknown(node))?;
                for unit in units {
                    machine.units.insert(unit.clone(), false);
                }
                machine.log.push(format!("paused {}", units.join(", ")));
                world.after(expires, Event::UnitsResume { node: node.clone(), units: units.to_vec() });
                Ok(())
            })
            .await
    }

    async fn resume_units(&self, node: &NodeName, units: &[String]) -> PortResult<()> {
        let what = format!("cannot start units on {node}");
        self.shared
            .call_on(node, &what, COMMAND, |world| {
                let machine = world.machines.get_mut(node).ok_or_else(|| unknown(node))?;
                for unit in units {
                    machine.units.insert(unit.clone(), true);
                }
                machine.log.push(format!("resumed {}", units.join(", ")));
                Ok(())
            })
            .await
    }

    async fn divert(&self, node: &NodeName, diversion: &Diversion) -> PortResult<()> {
        let what = format!("cannot divert connections on {node}");
        self.shared
            .call_on(node, &what, COMMAND, |world| {
                known(world, node)?;
                let to = world.machines.values().find(|machine| machine.address == diversion.to);
                let to = to.map(|machine| machine.node.name.clone()).ok_or_else(|| {
                    PortError::new(
                        Fault::Failed,
                        what.as_str(),
                        format!("{} is no node's address", diversion.to),
                    )
                })?;
                world.divert(node, &to, diversion.expires);
                if let Some(machine) = world.machines.get_mut(node) {
                    machine.log.push(format!("diverted new connections to {to}"));
                }
                Ok(())
            })
            .await
    }

    async fn undivert(&self, node: &NodeName) -> PortResult<()> {
        let what = format!("cannot take the diversion away on {node}");
        self.shared
            .call_on(node, &what, COMMAND, |world| {
                let machine = world.machines.get_mut(node).ok_or_else(|| unknown(node))?;
                machine.diversion = None;
                machine.log.push("took the diversion away".to_owned());
                Ok(())
            })
            .await
    }

    async fn replace_static_pod(
        &self,
        node: &NodeName,
        run: &RunId,
        component: Component,
        manifest: FileBytes,
        grace: Duration,
    ) -> PortResult<ProcessFacts> {
        let what = format!("cannot replace {component} on {node}");
        let put = self.shared.call_on(node, &what, WRITE, |world| {
            if world.machines.get(node).is_some_and(|machine| machine.ailments.disk_full > 0) {
                return Err(no_space(&what));
            }
            let written = write_one(world, node, run, manifest)?;
            let modified =
                world.machines.get(node).and_then(|machine| machine.disk.follow(&manifest_file(component)));
            let modified = modified.map(|file| file.modified).unwrap_or_default();
            let process = world.process(node, component);
            let old = process.map(|process| process.pid);
            let done = written.unchanged && process.is_some_and(|process| process.started >= modified);
            Ok((old, done))
        });
        let (old, done) = put.await?;
        if !done && let Some(old) = old {
            self.shared.time.sleep(grace).await;
            self.shared
                .call_on(node, &what, COMMAND, |world| {
                    // Kubelet may have ended it by itself meanwhile.
                    if world.process(node, component).is_some_and(|process| process.pid == old) {
                        world.restart_process(node, component);
                    }
                    Ok(())
                })
                .await?;
        }
        self.wait_for_other(node, component, old.filter(|_| !done)).await
    }

    async fn end_process(&self, node: &NodeName, component: Component) -> PortResult<ProcessFacts> {
        let what = format!("cannot end {component} on {node}");
        let ended = self.shared.call_on(node, &what, COMMAND, |world| {
            known(world, node)?;
            let old = world.process(node, component).map(|process| process.pid);
            if old.is_some() {
                world.restart_process(node, component);
            }
            Ok(old)
        });
        let old = ended.await?;
        self.wait_for_other(node, component, old).await
    }

    async fn restart_unit(
        &self,
        node: &NodeName,
        unit: &str,
        component: Component,
    ) -> PortResult<ProcessFacts> {
        let what = format!("cannot restart {unit} on {node}");
        let ended = self.shared.call_on(node, &what, COMMAND, |world| {
            known(world, node)?;
            let old = world.process(node, component).map(|process| process.pid);
            if component == Component::Etcd {
                world.watch_etcd_restart(node);
            }
            world.restart_process(node, component);
            Ok(old)
        });
        let old = ended.await?;
        self.wait_for_other(node, component, old).await
    }

    async fn start_afresh(
        &self,
        node: &NodeName,
        unit: &str,
        component: Component,
        forget: &[String],
    ) -> PortResult<(ProcessFacts, StartedBy)> {
        let what = format!("cannot start {unit} on {node} afresh");
        let ended = self.shared.call_on(node, &what, COMMAND, |world| {
            known(world, node)?;
            let old = world.process(node, component).map(|process| process.pid);
            world.stop_process(node, component);
            for path in forget {
                world.remove_file(node, path)?;
            }
            world.restart_process(node, component);
            Ok(old)
        });
        let old = ended.await?;
        let process = self.wait_for_other(node, component, old).await?;
        // The first of what was removed must be there again, whichever process has made it.
        self.shared
            .wait_until(&what, START_PATIENCE, |world| {
                if !world.reachable(node) {
                    return Err(unreachable(&what));
                }
                let machine = world.machines.get(node).ok_or_else(|| unknown(node))?;
                let made = forget.first().is_none_or(|path| machine.disk.follow(path).is_some());
                Ok(made.then(|| process_facts(world, node, component)).flatten())
            })
            .await
            .map(|now| (now, StartedBy::Restart))
            .map_err(|error| PortError {
                cause: format!("{} (process {})", error.cause, process.pid),
                ..error
            })
    }

    async fn remains(
        &self,
        node: &NodeName,
        question: &NodeQuestion,
    ) -> PortResult<Option<(RunId, Vec<FileFacts>)>> {
        let what = format!("cannot look for backups on {node}");
        self.shared
            .call_on(node, &what, Duration::from_millis(30), |world| {
                let machine = world.machines.get(node).ok_or_else(|| unknown(node))?;
                let Some(run) = machine.backups.keys().map(|(run, _)| run.clone()).max() else {
                    return Ok(None);
                };
                let asked = |path: &String| {
                    question.paths.iter().any(|asked| {
                        path.strip_prefix(asked.as_str())
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '\\']))
                    })
                };
                let originals: Vec<(String, crate::files::File)> = machine
                    .backups
                    .iter()
                    .filter(|((of, path), _)| *of == run && asked(path))
                    .filter_map(|((_, path), file)| Some((path.clone(), file.clone()?)))
                    .collect();
                let files = originals
                    .into_iter()
                    .filter_map(|(path, file)| original_facts(world, question, path, &file))
                    .collect();
                Ok(Some((RunId::new(run), files)))
            })
            .await
    }

    async fn audited_clients(&self, node: &NodeName, _log: &str) -> PortResult<Vec<AuditedClient>> {
        // A simulated API server keeps no audit log, as one without an audit policy.
        let what = format!("cannot read the audit log of {node}");
        self.shared.call(&what, Duration::from_millis(20), |_| Ok(Vec::new())).await
    }

    async fn dial(&self, node: &NodeName, host: &str, port: u16) -> PortResult<Box<dyn Stream>> {
        let what = format!("cannot connect to {host}:{port} from {node}");
        Err(PortError::new(Fault::Failed, what, "a simulated cluster has no sockets"))
    }
}

fn no_space(what: &str) -> PortError {
    PortError::new(Fault::Failed, what, "No space left on device")
}

fn known(world: &World, node: &NodeName) -> PortResult<()> {
    world.machines.get(node).map(|_| ()).ok_or_else(|| unknown(node))
}

fn write_one(world: &mut World, node: &NodeName, run: &RunId, file: FileBytes) -> PortResult<WrittenFile> {
    let access = file.access.map(|Access { mode, owner }| (mode, owner));
    let unchanged = match file.bytes {
        FileContent::Bytes(bytes) => world.write_file(node, &file.path, Stored::bytes(bytes), access)?,
        FileContent::Link(target) => world.write_file(node, &file.path, Stored::Link(target), access)?,
        FileContent::Original => world.restore_file(node, run.as_str(), &file.path)?,
    };
    let machine = world.machines.get(node).ok_or_else(|| unknown(node))?;
    let sha256 = machine.disk.known(&file.path).map_or_else(|| digest(b""), |(_, digest)| digest.to_string());
    Ok(WrittenFile { path: file.path, sha256, unchanged })
}

fn process_facts(world: &World, node: &NodeName, component: Component) -> Option<ProcessFacts> {
    let process = world.process(node, component)?;
    // Counted from the node's boot, whose time follows the clock as it is now.
    let started = world.moment_at(process.started) + world.clock_error(node);
    Some(ProcessFacts { component, pid: process.pid, started })
}

fn look(world: &mut World, node: &NodeName, question: &NodeQuestion) -> PortResult<NodeFacts> {
    let machine = world.machines.get(node).ok_or_else(|| unknown(node))?;
    let mut files = Vec::new();
    for path in question.paths.iter().flat_map(|path| machine.disk.list(path)) {
        let Some(file) = machine.disk.follow(&path) else { continue };
        let Some((bytes, digest)) = machine.disk.known(&path) else { continue };
        let link = match machine.disk.entry(&path).map(|entry| &entry.content) {
            Some(Stored::Link(target)) => Some(target.clone()),
            _ => None,
        };
        let material = world.store.parse(bytes, digest);
        files.push(FileFacts {
            mode: file.mode,
            owner: file.owner.clone(),
            sha256: digest.to_string(),
            modified: crate::time::moment(world.start, file.modified) + file.clock_error,
            certificates: world.store.facts(material.certificates),
            text: question.texts.contains(&path).then(|| String::from_utf8_lossy(bytes).into_owned()),
            link,
            path,
        });
    }
    // What is paused has a timer that will start it, and counts.
    let active = |unit: &&String| machine.units.contains_key(*unit);
    Ok(NodeFacts {
        hostname: node.to_string(),
        clock_offset_ms: machine.ailments.clock_ms,
        free_bytes: if machine.ailments.disk_full > 0 { 0 } else { FREE_BYTES },
        files,
        processes: question
            .components
            .iter()
            .filter_map(|component| process_facts(world, node, *component))
            .collect(),
        active_units: question.units.iter().filter(active).cloned().collect(),
        missing_tools: Vec::new(),
    })
}

/// The facts of a file as a run found it. Links are left out: what is asked is where they lead now.
fn original_facts(
    world: &mut World,
    question: &NodeQuestion,
    path: String,
    file: &crate::files::File,
) -> Option<FileFacts> {
    let Stored::Bytes(bytes, fingerprint) = &file.content else { return None };
    let material = world.store.parse(bytes, *fingerprint);
    Some(FileFacts {
        mode: file.mode,
        owner: file.owner.clone(),
        sha256: digest(bytes),
        modified: crate::time::moment(world.start, file.modified),
        certificates: world.store.facts(material.certificates),
        text: question.texts.contains(&path).then(|| String::from_utf8_lossy(bytes).into_owned()),
        link: None,
        path,
    })
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
