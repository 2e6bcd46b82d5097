//! The certificate that a load balancer's agent presents: renewed on its machine over SSH, and taken up without losing a
//! connection.
//!
//! Where the vendor's agent keeps its certificate, and how it comes there, is not public. Assumed here: a PEM file that a unit
//! such as haproxy presents, and a certificate as the authority signs it for servers. The site file names both.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kubecert_cloud::arc::{LoadBalancer, Site};
use kubecert_cloud::authority::{Reason, server_due};
use kubecert_cluster::presented;
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Listening, Nodes, PortError};
use kubecert_pki::{Certificate, KeyEncoding, SubjectAltName, read_pem_certificates, to_pem_chain};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::administrator::Administrator;
use super::report::{Item, Outcome, Report, What};
use super::{How, ssh, told};
use crate::commands::target::port_error;
use crate::errors::{CliError, Kind};

/// How long the new certificate may take to be presented after a reload. haproxy starts a new worker, which takes well below a
/// second; a machine under load, some.
const TAKEN_UP: Duration = Duration::from_secs(20);

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Renews a load balancer's certificate where it is due, and takes down what became of it.
pub(super) async fn patch(
    balancer: &LoadBalancer,
    site: &Site,
    administrator: &mut Administrator<'_>,
    how: &How,
    report: &mut Report,
) -> Result<(), CliError> {
    let item = Item {
        outcome: Outcome::NotDue,
        what: What::ServerCertificate,
        identity: None,
        holder: balancer.name.clone(),
        place: format!("{} on {}", balancer.certificate, balancer.ssh),
        why: None,
        restart: None,
        not_after: None,
    };
    how.tell(|| format!("looking at load balancer {} ({})", balancer.name, balancer.ssh));
    let patched = async {
        let machine = Machine {
            nodes: ssh::connect(&balancer.name, &balancer.ssh, site, how.ssh_key.as_deref()).await?,
            balancer,
        };
        machine.patch(administrator, how).await
    };
    match patched.await {
        Ok((None, ends)) => report.credentials.push(item.not_due(ends)),
        Ok((Some(reason), ends)) => {
            let outcome = if how.what_if { Outcome::WouldBeRenewed } else { Outcome::Renewed };
            report.credentials.push(Item { why: Some(reason), ..item.due(outcome, &Reason::Forced, ends) });
        }
        Err(error) => report.failed(item, error, how)?,
    }
    Ok(())
}

/// A load balancer's machine, connected.
struct Machine<'a> {
    nodes: Arc<dyn Nodes>,
    balancer: &'a LoadBalancer,
}

/// What is on the machine.
struct Files {
    /// As it was read, to be put back.
    certificate: Option<Zeroizing<Vec<u8>>>,
    key: Option<Zeroizing<Vec<u8>>>,
    leaf: Option<Certificate>,
}

impl Machine<'_> {
    /// Why it was renewed, if it was, and until when it is good now.
    async fn patch(
        &self,
        administrator: &mut Administrator<'_>,
        how: &How,
    ) -> Result<(Option<String>, Option<Timestamp>), CliError> {
        let balancer = self.balancer;
        let files = self.read().await?;
        let served = self.served().await;
        let reason = match &files.leaf {
            None => Some(Reason::Absent),
            Some(_) if how.force => Some(Reason::Forced),
            Some(leaf) => server_due(leaf, &administrator.roots, how.clock.now()),
        };
        let ends = files.leaf.as_ref().map(Certificate::not_after);
        let Some(reason) = reason else {
            // A run that was cut off between file and reload has left it at this.
            let taken_up = match (&served, &files.leaf) {
                (Ok(served), Some(leaf)) => served == leaf,
                _ => false,
            };
            if taken_up {
                return Ok((None, ends));
            }
            if !how.what_if
                && let Some(leaf) = &files.leaf
            {
                self.take_up(leaf).await?;
            }
            return Ok((Some(format!("{} presented another one than its file holds", balancer.unit)), ends));
        };
        if how.what_if {
            return Ok((Some(reason.to_string()), ends));
        }
        // Before anything is written: what does not listen cannot be reloaded.
        self.listening().await?;
        let sans = [san(&balancer.server.host)];
        let signed = administrator.client.sign_server(&balancer.name, files.leaf.as_ref(), &sans);
        let signed = signed.await.map_err(told)?;
        let leaf = signed.chain.first().cloned();
        let leaf = leaf.ok_or_else(|| CliError::new(Kind::Internal, "the authority has signed nothing"))?;
        let key = signed.key.to_pem(KeyEncoding::Pkcs8);
        let key = key.map_err(|error| CliError::because(Kind::Internal, "cannot write a key", error))?;
        self.write(&files, to_pem_chain(&signed.chain).into_bytes(), key.to_bytes()).await?;
        if let Err(error) = self.take_up(&leaf).await {
            // The process that runs goes on with what it has loaded; its files become again what they were.
            return Err(match self.put_back(files).await {
                Ok(()) => error.hint("The files are as they were, and nobody has lost a connection."),
                Err(second) => error.hint(format!("The files could not be put back: {}.", second.error)),
            });
        }
        Ok((Some(reason.to_string()), Some(leaf.not_after())))
    }

    async fn read(&self) -> Result<Files, CliError> {
        let balancer = self.balancer;
        let read = async |path: &str| self.nodes.read(&self.node(), path).await.map_err(port_error);
        let certificate = read(&balancer.certificate).await?;
        let key = match &balancer.key {
            Some(path) => read(path).await?,
            None => None,
        };
        let leaf = match &certificate {
            None => None,
            Some(pem) => match read_pem_certificates(pem.as_slice()).into_iter().next() {
                Some(Ok(leaf)) => Some(leaf),
                other => {
                    let why = match other {
                        Some(Err(error)) => error.to_string(),
                        _ => "there is no certificate in it".to_owned(),
                    };
                    let what = format!("cannot use {} on {}", balancer.certificate, balancer.name);
                    return Err(CliError::because(Kind::Node, what, why)
                        .hint("Correct the path in the site file; a file that is not there is made anew."));
                }
            },
        };
        Ok(Files { certificate, key, leaf })
    }

    /// Writes certificate and key, each as a whole; in one file where the unit reads one.
    async fn write(&self, was: &Files, chain: Vec<u8>, key: Zeroizing<Vec<u8>>) -> Result<(), CliError> {
        let balancer = self.balancer;
        let certificate = &balancer.certificate;
        let mut files = Vec::new();
        match &balancer.key {
            None => {
                let mut both = Zeroizing::new(chain);
                both.extend_from_slice(&key);
                files.push(ssh::file(certificate, both, was.certificate.is_none()));
            }
            Some(path) => {
                files.push(ssh::file(path, key, was.key.is_none()));
                files.push(ssh::file(certificate, Zeroizing::new(chain), was.certificate.is_none()));
            }
        }
        self.nodes.write(&self.node(), &ssh::run(), files).await.map(drop).map_err(port_error)
    }

    async fn put_back(&self, was: Files) -> Result<(), CliError> {
        let mut files = Vec::new();
        if let (Some(path), Some(key)) = (&self.balancer.key, was.key) {
            files.push(ssh::file(path, key, false));
        }
        if let Some(certificate) = was.certificate {
            files.push(ssh::file(&self.balancer.certificate, certificate, false));
        }
        self.nodes.write(&self.node(), &ssh::run(), files).await.map(drop).map_err(port_error)
    }

    /// Reloads the unit, waits until it presents `leaf`, and sees that it listens at the very sockets of before.
    async fn take_up(&self, leaf: &Certificate) -> Result<(), CliError> {
        let balancer = self.balancer;
        let port = balancer.server.port;
        let before = self.nodes.reload_unit(&self.node(), &balancer.unit, port).await.map_err(port_error)?;
        let limit = Instant::now() + TAKEN_UP;
        let mut served = self.served().await;
        while !matches!(&served, Ok(served) if served == leaf) {
            if Instant::now() >= limit {
                let what = format!(
                    "{} on {} was reloaded, and does not present the new certificate",
                    balancer.unit, balancer.name
                );
                let cause = match served {
                    Ok(other) => format!(
                        "after {} s, {} presents one that ends at {}",
                        TAKEN_UP.as_secs(),
                        balancer.server,
                        other.not_after()
                    ),
                    Err(error) => error.to_string(),
                };
                return Err(CliError::because(Kind::Node, what, cause).hint(format!(
                    "See that its configuration reads {}, and what `journalctl -u {}` says there.",
                    balancer.certificate, balancer.unit
                )));
            }
            sleep(LOOK_EVERY).await;
            served = self.served().await;
        }
        let after = self.listening().await?;
        match after.goes_on_from(&before) {
            true => Ok(()),
            false => Err(CliError::new(
                Kind::Node,
                format!(
                    "{} on {} presents the new certificate, and listens at another socket than before: connections may have been lost",
                    balancer.unit, balancer.name
                ),
            )
            .hint("See that `systemctl reload` hands its sockets on there, as haproxy in master-worker mode does.")),
        }
    }

    async fn listening(&self) -> Result<Listening, CliError> {
        let balancer = self.balancer;
        self.nodes.listening(&self.node(), &balancer.unit, balancer.server.port).await.map_err(port_error)
    }

    /// What it presents now.
    async fn served(&self) -> Result<Certificate, PortError> {
        let address = self.balancer.server.to_string();
        let handshake = presented(&address).await?;
        let leaf = handshake.chain.first().map(|der| Certificate::from_der(der));
        let unknown = |cause: String| {
            let what = format!("cannot understand what {address} presents");
            PortError::new(kubecert_engine::ports::Fault::Unexpected, what, cause)
        };
        match leaf {
            Some(Ok(leaf)) => Ok(leaf),
            Some(Err(error)) => Err(unknown(error.to_string())),
            None => Err(unknown("it presents no certificate".to_owned())),
        }
    }

    fn node(&self) -> NodeName {
        NodeName::from(self.balancer.name.as_str())
    }
}

fn san(host: &str) -> SubjectAltName {
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => SubjectAltName::ip(address),
        Err(_) => SubjectAltName::dns(host),
    }
}
