//! The engine's ports on a simulated cluster.
//!
//! Each call changes the world at one instant, under one lock, so that a caller may be dropped at any await without
//! leaving half a change behind. What takes time on a real cluster is waited for outside of the lock.

mod api;
mod availability;
mod before;
mod etcd;
mod nodes;
mod probe;

use kubecert_core::inventory::CertificateFacts;
use kubecert_engine::facts::certificate_facts;
use kubecert_engine::ports::Credentials;

use crate::certs::{BundleId, Store};
use crate::world::World;

pub(crate) use api::SimApi;
pub(crate) use availability::SimAvailability;
pub(crate) use etcd::SimEtcd;
pub(crate) use nodes::SimNodes;
pub(crate) use probe::SimProbe;

/// A client's credentials by number.
#[derive(Clone, Copy, Debug)]
struct Known {
    roots: BundleId,
    identity: Option<BundleId>,
}

impl Known {
    fn of(world: &mut World, credentials: &Credentials) -> Self {
        Self {
            roots: world.store.bundle_of_der(&credentials.roots),
            identity: credentials
                .identity
                .as_ref()
                .map(|identity| world.store.bundle_of_der(&identity.chain)),
        }
    }
}

/// The facts of all certificates of a bundle.
fn facts(store: &Store, bundle: BundleId) -> Vec<CertificateFacts> {
    store.certificates(bundle).iter().map(|certificate| certificate_facts(certificate)).collect()
}

/// The groups in a client certificate's subject decide what it may do: `system:masters` everything, any other nothing.
fn is_administrator(store: &Store, identity: BundleId) -> bool {
    let leaf = store.certificates(identity).first();
    leaf.is_some_and(|leaf| leaf.subject().organizations().iter().any(|group| group == "system:masters"))
}
