//! The management cluster of a cluster that Cluster API has made: its Secrets follow the PKI.
//!
//! They are judged before a run touches anything and changed when the new PKI is in force; see
//! [`kubecert_cloud::cluster_api`] for what is to stand in them. Between the two nothing is remembered: each Secret is read
//! again, may hold what the cluster had before or what it has by then, and is changed only while it holds what was read.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use kubecert_cloud::arc::ClusterLogin;
use kubecert_cloud::cluster_api::{Change, Purpose, changes};
use kubecert_cloud::cluster_file::ClusterApi;
use kubecert_cluster::{EntryChange, KubeClient};
use kubecert_core::event::{Event, Happening};
use kubecert_core::inventory::ObjectRef;
use kubecert_core::model::TrustDomain;
use kubecert_engine::issue::chain;
use kubecert_engine::ports::{Credentials, Fault, Identity, KubeApi as _, PortError, PortResult};
use kubecert_engine::vault::Vault;
use kubecert_pki::Certificate;
use tokio::sync::mpsc;

/// Where Cluster API keeps a cluster's PKI.
pub(super) struct Management {
    place: ClusterApi,
    events: mpsc::UnboundedSender<Event>,
    /// What is not there, each as a sentence.
    lacking: Mutex<Vec<String>>,
}

impl Management {
    /// The one that a cluster file names. Nothing is asked of it yet.
    pub(super) fn new(place: ClusterApi, events: mpsc::UnboundedSender<Event>) -> Self {
        Self { place, events, lacking: Mutex::default() }
    }

    /// Sees whether all Secrets hold what the cluster has, and could be changed. Changes nothing, and says which are not
    /// there. `kubeconfig` is the operator's own, if a run brings it up to date.
    ///
    /// A cluster that manages itself and is to be brought back cannot be asked; its Secrets are judged at the end alone.
    ///
    /// # Errors
    ///
    /// Fails if the management cluster cannot be asked, a Secret is another cluster's or may not be changed, and if the
    /// login to the management cluster would end with the run.
    pub(super) async fn check(&self, vault: &Vault, kubeconfig: Option<&Path>) -> PortResult<()> {
        let login = self.login()?;
        self.lasts(&login, vault, kubeconfig)?;
        match self.tried(&login, vault).await {
            Err(error) if is_itself(&login, vault) && (error.is_transient() || has_ended(&login)) => {
                self.tell(format!(
                    "Cluster API's Secrets are in this very cluster, which does not answer ({error}); they are judged at the end."
                ));
                Ok(())
            }
            tried => {
                self.leftovers().into_iter().for_each(|left| self.tell(left));
                tried
            }
        }
    }

    /// Brings all Secrets up to date, one after the other. Done again, it changes what is left to be changed.
    ///
    /// # Errors
    ///
    /// As [`Management::check`]; and if somebody else changes a Secret at the same time. Those before it are changed then.
    pub(super) async fn follow(&self, vault: &Vault) -> PortResult<()> {
        let client = connect(&self.login()?).await.map_err(|error| self.told(error))?;
        for purpose in Purpose::ALL {
            let (secret, changes) = self.changes(&client, purpose, vault).await?;
            if !changes.is_empty() {
                let done = client.replace_secret_values(&secret, &entries(&changes)).await;
                done.map_err(|error| self.told(error))?;
            }
        }
        Ok(())
    }

    /// What was not there when it was last looked at, each as a sentence.
    pub(super) fn leftovers(&self) -> Vec<String> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn tried(&self, login: &ClusterLogin, vault: &Vault) -> PortResult<()> {
        let client = connect(login).await.map_err(|error| self.told(error))?;
        for purpose in Purpose::ALL {
            let (secret, changes) = self.changes(&client, purpose, vault).await?;
            if !changes.is_empty() {
                let tried = client.may_replace_secret_values(&secret, &entries(&changes)).await;
                tried.map_err(|error| self.told(error))?;
            }
        }
        let cluster = ObjectRef { namespace: self.place.namespace.clone(), name: self.place.name.clone() };
        // Advice and no more, so whoever may not read the Cluster goes without.
        if let Ok(Some(false)) = client.is_paused(&cluster).await {
            self.tell(format!(
                "Cluster {cluster} of the management cluster is not paused: machines that Cluster API makes while the run is under way are not part of it. Set spec.paused of that object, and unset it when the run is through."
            ));
        }
        Ok(())
    }

    fn tell(&self, text: String) {
        // Nobody listens any more only when the program ends.
        drop(self.events.send(Event { at: Timestamp::now(), what: Happening::Notice { text } }));
    }

    async fn changes(
        &self,
        client: &KubeClient,
        purpose: Purpose,
        vault: &Vault,
    ) -> PortResult<(ObjectRef, Vec<Change>)> {
        let name = purpose.secret(&self.place.name);
        let secret = ObjectRef { namespace: self.place.namespace.clone(), name };
        let read = client.secret_values(&secret).await.map_err(|error| self.told(error))?;
        let Some(present) = read else {
            self.lacks(format!(
                "The management cluster has no Secret {secret}; what it would hold is left to whoever keeps it."
            ));
            return Ok((secret, Vec::new()));
        };
        if purpose.lacks_key(&present) {
            self.lacks(format!(
                "Secret {secret} of the management cluster has no private key, and gets none."
            ));
        }
        // Keys are generated here, once in a run; that takes a fraction of a second.
        match changes(purpose, &present, vault, Timestamp::now()) {
            Ok(changes) => Ok((secret, changes)),
            Err(misfit) => {
                let what = format!("cannot bring secret {secret} of the management cluster up to date");
                Err(PortError::new(Fault::Refused, what, chain(&misfit)).remedy(
                    "See that spec.clusterAPI names this cluster's namespace and name. If it does, put into the Secret what the control planes have in /etc/kubernetes/pki, and run the same command again.",
                ))
            }
        }
    }

    fn lacks(&self, what: String) {
        let mut lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        if !lacking.contains(&what) {
            lacking.push(what);
        }
    }

    fn login(&self) -> PortResult<ClusterLogin> {
        ClusterLogin::read(&self.place.kubeconfig).map_err(|error| {
            PortError::new(Fault::Refused, "cannot log in to the management cluster", error)
                .remedy("Name in spec.clusterAPI.kubeconfig the kubeconfig of an administrator with a client certificate; tokens and plugins are not read.")
        })
    }

    /// A cluster that manages itself refuses at the end what it accepts now, but for the kubeconfig that the run brings up
    /// to date.
    fn lasts(&self, login: &ClusterLogin, vault: &Vault, kubeconfig: Option<&Path>) -> PortResult<()> {
        let is_replaced = vault.new.authorities.contains_key(&TrustDomain::Cluster);
        let file = &self.place.kubeconfig;
        let is_updated = kubeconfig.is_some_and(|own| is_same(own, file));
        if is_updated || !is_itself(login, vault) || !(is_replaced || has_ended(login)) {
            return Ok(());
        }
        let what = format!("cannot log in with {} at the end", file.display());
        Err(PortError::new(Fault::Refused, what, "it is a login to the very cluster whose credentials are to be replaced")
            .remedy("Where a cluster manages itself, let spec.kubeconfig and spec.clusterAPI.kubeconfig name the same file: it is brought up to date first."))
    }

    /// An error of the management cluster's API, which must not be taken for one of the cluster's own.
    fn told(&self, error: PortError) -> PortError {
        let file = self.place.kubeconfig.display();
        let down = error.is_transient();
        let mut error = PortError { what: format!("{} of the management cluster", error.what), ..error };
        error.remedy.get_or_insert_with(|| match down {
            true => format!("See why the API that {file} names does not answer, and run the same command again."),
            false => format!("See that {file} is an administrator's who may read and patch Secrets in namespace {}, and run the same command again.", self.place.namespace),
        });
        error
    }
}

/// A client that is logged in; nothing is asked of the API yet.
///
/// # Errors
///
/// Fails if the login cannot be used.
pub(super) async fn connect(login: &ClusterLogin) -> PortResult<KubeClient> {
    let client = KubeClient::new(&login.host, login.port)?;
    let der = |certificates: &[Certificate]| -> Vec<Vec<u8>> {
        certificates.iter().map(|certificate| certificate.der().to_vec()).collect()
    };
    let key = login.key.to_pkcs8_der();
    let key = key
        .map_err(|error| PortError::new(Fault::Refused, "cannot use the kubeconfig's key", chain(&error)))?;
    let identity = Some(Identity { chain: der(&login.chain), key });
    client.use_credentials(vec![Credentials { roots: der(&login.roots), identity }]).await?;
    Ok(client)
}

/// Whether a login is one to the cluster that a run is about.
fn is_itself(login: &ClusterLogin, vault: &Vault) -> bool {
    vault.old.authorities.get(&TrustDomain::Cluster).is_some_and(|ca| login.roots.contains(ca))
}

fn has_ended(login: &ClusterLogin) -> bool {
    login.chain.first().is_some_and(|leaf| leaf.not_after() <= Timestamp::now())
}

fn entries(changes: &[Change]) -> Vec<EntryChange<'_>> {
    changes
        .iter()
        .map(|change| EntryChange { key: change.entry, old: &change.old, new: &change.new })
        .collect()
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

#[cfg(test)]
#[path = "management_tests.rs"]
mod tests;
