//! The front proxy's CA and leaf alone, without restarting anything.
//!
//! API servers re-read all three files by themselves from Kubernetes 1.20 on, and aggregated API servers follow
//! `extension-apiserver-authentication`. So trust grows, the leaf changes, trust shrinks, each seen before the next. The
//! front proxy's CA key is made for this one leaf and thrown away, as AKS engine does, so there is nothing to cross-sign
//! with. In order:
//!
//! 1. *prepare*: backups.
//! 2. *introduce*: `proxy-ca.crt` holds both CAs, every API server names both, aggregated API servers are told of both.
//! 3. *switch*: the new pair is put in place, and every API server has read it.
//! 4. *drop*: `proxy-ca.crt` holds the new CA alone; rebooted masters will take the new files from etcd.
//! 5. *finish*: what aggregated API servers are told is written anew, since it only grows; traces are removed.

use super::Naming;
use super::builder::{Numbers, PhaseBuilder};
use super::common::{Master, Scene, ca, front_proxy_pair, front_proxy_roots};
use super::cross_signed::{advertised, clean_up, forget_old_clients};
use crate::intent::{Intent, Strategy};
use crate::inventory::Inventory;
use crate::layout::certificate_file;
use crate::model::{Component, Generation, TrustDomain};
use crate::plan::{Action, Kept, Phase, PhaseName, Plan, PlanError, Predicate, Target};

const OLD: Generation = Generation::Old;
const NEW: Generation = Generation::New;

/// After how many seconds an API server has surely read a changed file, and aggregated API servers have heard of it: the
/// former looks once a minute (`dynamiccertificates.FileRefreshDuration` of kubernetes/apiserver), and from 1.23 on is
/// told of changes besides; the latter watch the ConfigMap. The rest is for busy machines.
const READ_AGAIN_S: u32 = 75;

pub(super) fn plan(inventory: &Inventory, intent: &Intent, naming: &Naming) -> Result<Plan, PlanError> {
    let scene = Scene::new(inventory, intent.scope, naming)?;
    let mut numbers = Numbers::default();
    let phases = vec![
        prepare(&scene, &mut numbers),
        introduce(&scene, &mut numbers),
        switch(&scene, &mut numbers),
        drop_trust(&scene, &mut numbers),
        finish(&scene, &mut numbers),
    ];
    Ok(Plan {
        authorities: scene.authorities(false)?,
        leaves: scene.leaves()?,
        phases,
        kept: vec![Kept {
            id: "the cluster CA and everything under it".to_owned(),
            why: "out of scope, which is the front proxy's CA alone".to_owned(),
        }],
        notices: vec![
            "No process is restarted; the run takes some three minutes, in which it waits until all have read their files again. An aggregated API server that reads its trust at its start only (built on Kubernetes libraries before 1.18) must be restarted by hand before the phase \"switch\"."
                .to_owned(),
        ],
        ..super::frame(inventory, intent, Strategy::Bundled)
    })
}

fn prepare(scene: &Scene<'_>, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Prepare, numbers);
    let paths: Vec<String> = ["proxy-ca.crt", "proxy.crt", "proxy.key"].map(certificate_file).into();
    for master in &scene.masters {
        phase.step(master.target(), "back up", Action::BackUp { paths: paths.clone() }, []);
        phase.barrier([master.ready()]);
    }
    phase.barrier([Predicate::EtcdHealthy, Predicate::AggregatedApisAvailable]);
    phase.build()
}

fn introduce(scene: &Scene<'_>, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Introduce, numbers);
    for master in &scene.masters {
        let files = vec![front_proxy_roots(scene, &[OLD, NEW])];
        phase.step(master.target(), "trust both front-proxy CAs", Action::Write { files }, []);
        // What it trusts a handshake shows; that aggregated API servers have followed, nothing does.
        phase.barrier([has_read(master, &["proxy-ca.crt"])]);
        phase.barrier([master.ready(), master.apiserver_advertises(advertised(scene, &[OLD], &[OLD, NEW]))]);
    }
    let cas = [OLD, NEW].map(|generation| ca(TrustDomain::FrontProxy, generation)).to_vec();
    phase.barrier([Predicate::ExtensionTrusts { cas }]);
    phase.build()
}

fn switch(scene: &Scene<'_>, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Switch, numbers);
    for master in &scene.masters {
        let files = front_proxy_pair(scene, master.node).to_vec();
        phase.step(master.target(), "present the new certificate", Action::Write { files }, []);
        phase.barrier([
            // Nobody but an aggregated API server ever sees which one is presented.
            has_read(master, &["proxy.crt", "proxy.key"]),
            master.ready(),
            master.apiserver_advertises(advertised(scene, &[OLD], &[OLD, NEW])),
        ]);
    }
    phase.barrier([Predicate::AggregatedApisAvailable]);
    phase.build()
}

fn has_read(master: &Master<'_>, files: &[&str]) -> Predicate {
    Predicate::ReadAgain {
        node: master.node.name.clone(),
        component: Component::ApiServer,
        files: files.iter().map(|file| certificate_file(file)).collect(),
        seconds: READ_AGAIN_S,
    }
}

fn drop_trust(scene: &Scene<'_>, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Drop, numbers);
    let mut written = Vec::new();
    for master in &scene.masters {
        let files = vec![front_proxy_roots(scene, &[NEW])];
        written.push(phase.step(
            master.target(),
            "trust the new front-proxy CA alone",
            Action::Write { files },
            [],
        ));
        phase.barrier([master.ready(), master.apiserver_advertises(advertised(scene, &[OLD], &[NEW]))]);
    }
    phase.step(Target::Etcd, "share the new front-proxy certificates", Action::ShareFrontProxy, written);
    phase.build()
}

fn finish(scene: &Scene<'_>, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Finish, numbers);
    forget_old_clients(scene, &mut phase, OLD);
    for master in &scene.masters {
        clean_up(scene, &mut phase, master.node);
        phase.barrier([master.ready()]);
    }
    phase.step(Target::Operator, "write apimodel.json and kubeconfigs", Action::WriteOperatorFiles, []);
    phase.barrier([Predicate::EtcdHealthy, Predicate::AggregatedApisAvailable]);
    phase.build()
}
