//! What a site of AKS Arc keeps its credentials in: login files, access files, kubeconfigs, PEM files.
//!
//! The formats are public (the client library `github.com/microsoft/moc`, folder `pkg/auth`, and its documentation). Here
//! they are only read, for [`kubecert_core::assess`]; what cannot be read becomes evidence of just that, so that one
//! unreadable file never hides another.

mod access;
mod certificates;
mod kubeconfig;
mod login;
mod site;
pub(crate) mod token;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use jiff::Timestamp;
use kubecert_core::assess::{Class, Credential, Evidence, Layer, Material, Stranger};
use kubecert_core::inventory::FileFacts;
use kubecert_pki::Certificate;
use zeroize::Zeroizing;

pub use kubeconfig::{ClusterLogin, KubeconfigError};
pub use site::{
    ClusterAccess, LoadBalancer, Place, RemoteCertificates, RemotePlace, SecretPlace, Site, SiteError,
    SocketName, Source, SshAccess,
};

/// The largest file that is read: a hundred times what any of these formats needs.
const LARGEST: u64 = 4 << 20;

/// What was found in a source.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its credentials; what could not be read is among them.
    pub credentials: Vec<Credential>,
    /// The roots of the infrastructure that its holder trusts.
    roots: Vec<Certificate>,
    /// What it has presented, if it is a server, with the leaf first.
    chain: Vec<Certificate>,
}

/// Reads what a source of a site holds; nothing for a server, which is told by [`presented`], nor for what is elsewhere, which is
/// told by [`fetched`] and [`looked_at`].
///
/// Never fails: what cannot be read is told as [`Evidence::Unreadable`], with the reason.
pub fn read(source: &Source) -> Seen {
    let mut found = Found::new(source);
    match &source.place {
        Place::Login(path) => found.file(path, login::read),
        Place::Access(path) => found.file(path, access::read),
        Place::Kubeconfig(path) => found.file(path, kubeconfig::read),
        Place::Certificates(path) => certificates::read(&mut found, path),
        Place::Server(_) | Place::Secret(_) | Place::Remote(_) | Place::RemoteCertificates(_) => {}
    }
    found.seen
}

/// What a login file in a Secret or on another machine holds, or why it cannot be read.
pub fn fetched(source: &Source, text: Result<Zeroizing<String>, String>) -> Seen {
    let mut found = Found::new(source);
    found.text(&source.place.to_string(), text, login::read);
    found.seen
}

/// What the files of another machine hold, as they were looked at there, or why they cannot be.
pub fn looked_at(source: &Source, files: Result<&[FileFacts], String>) -> Seen {
    let mut found = Found::new(source);
    let whole = source.place.to_string();
    let files = match files {
        Ok(files) => files,
        Err(why) => {
            found.unreadable(&whole, Material::Certificate, why);
            return found.seen;
        }
    };
    for file in files {
        for (index, certificate) in file.certificates.iter().enumerate() {
            let life = (certificate.not_before, certificate.not_after);
            found.certificate_of(&file.path, life, certificate.is_ca || index > 0);
        }
    }
    if found.seen.credentials.is_empty() {
        found.unreadable(&whole, Material::Certificate, "there is no certificate in it".to_owned());
    }
    found.seen
}

/// What a server has presented, or why it has not.
pub fn presented(source: &Source, chain: Result<Vec<Vec<u8>>, String>) -> Seen {
    let mut found = Found::new(source);
    let place = source.place.to_string();
    match chain {
        Err(why) => found.unreadable(&place, Material::Certificate, why),
        Ok(chain) => {
            for (index, der) in chain.iter().enumerate() {
                match Certificate::from_der(der) {
                    // What follows the leaf is of its issuers.
                    Ok(certificate) => {
                        found.certificate(&place, &certificate, index > 0);
                        found.seen.chain.push(certificate);
                    }
                    Err(error) => found.unreadable(&place, Material::Certificate, error.to_string()),
                }
            }
        }
    }
    found.seen
}

/// Clients that trust none of the CAs of the cloud agent, as far as both were seen: those of login files and access files,
/// which hold its roots.
pub fn strangers(site: &[(Source, Seen)]) -> Vec<Stranger> {
    let servers = site.iter().filter(|(source, seen)| {
        source.class == Class::CloudAgent
            && matches!(source.place, Place::Server(_))
            && !seen.chain.is_empty()
    });
    let pairs = servers.flat_map(|server| site.iter().map(move |client| (client, server)));
    let strange = pairs.filter(|((_, client), (_, server))| {
        // An old cloud agent presents a root itself.
        let known = |root: &Certificate| {
            server.chain.iter().any(|presented| presented == root || presented.signed_by(root).is_ok())
        };
        !client.roots.is_empty() && !client.roots.iter().any(known)
    });
    strange
        .map(|((client, _), (server, _))| Stranger {
            client: format!("{} ({})", client.holder, client.place),
            server: server.place.to_string(),
        })
        .collect()
}

/// The same CA is in every login file and every access file; it is told once.
pub fn without_repeated_authorities(credentials: Vec<Credential>) -> Vec<Credential> {
    let mut known = BTreeSet::new();
    let repeated = |credential: &Credential| {
        let Evidence::Seen { not_before, not_after } = credential.evidence else { return false };
        let authority = matches!(credential.class, Class::RootCa | Class::ClusterCa);
        authority && !known.insert((credential.class, credential.cluster.clone(), not_before, not_after))
    };
    let mut repeated = repeated;
    credentials.into_iter().filter(|credential| !repeated(credential)).collect()
}

/// Credentials as they are found in one source.
struct Found<'a> {
    source: &'a Source,
    seen: Seen,
}

impl<'a> Found<'a> {
    fn new(source: &'a Source) -> Self {
        Self { source, seen: Seen::default() }
    }

    /// Reads a file and has its content understood.
    fn file(&mut self, path: &Path, understand: Understand) {
        self.text(&path.display().to_string(), content(path), understand);
    }

    fn text(&mut self, place: &str, text: Result<Zeroizing<String>, String>, understand: Understand) {
        let understood = text.and_then(|text| understand(self, place, &text));
        if let Err(why) = understood {
            let material = match self.source.place {
                Place::Login(_) | Place::Secret(_) | Place::Remote(_) => Material::Token,
                _ => Material::Certificate,
            };
            self.unreadable(place, material, why);
        }
    }

    /// A certificate, of the source's class or of the CA above it.
    fn certificate(&mut self, place: &str, certificate: &Certificate, of_authority: bool) {
        self.certificate_of(place, (certificate.not_before(), certificate.not_after()), of_authority);
    }

    /// The same, from the beginning and the end of its life.
    fn certificate_of(
        &mut self,
        place: &str,
        (not_before, not_after): (Timestamp, Timestamp),
        of_authority: bool,
    ) {
        let class = match (of_authority, self.source.class.layer()) {
            (false, _) => self.source.class,
            (true, Layer::Kubernetes | Layer::KubernetesWorkers) => Class::ClusterCa,
            (true, _) => Class::RootCa,
        };
        self.add(class, place, Material::Certificate, Evidence::Seen { not_before, not_after });
    }

    fn unreadable(&mut self, place: &str, material: Material, why: String) {
        self.add(self.source.class, place, material, Evidence::Unreadable { why });
    }

    fn add(&mut self, class: Class, place: &str, material: Material, evidence: Evidence) {
        let root = class == Class::RootCa;
        self.seen.credentials.push(Credential {
            class,
            cluster: self.source.cluster.clone().filter(|_| !root),
            holder: if root { "the infrastructure".to_owned() } else { self.source.holder.clone() },
            place: place.to_owned(),
            material,
            evidence,
            ephemeral: self.source.ephemeral && class == self.source.class,
        });
    }
}

/// Finds the credentials in the text of a file at a place, or says why there are none.
type Understand = fn(&mut Found<'_>, &str, &str) -> Result<(), String>;

/// What a source holds, were this the text of its file; for the fuzz targets in `fuzz/` and for nobody else.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn understood(source: &Source, text: &str) -> Vec<Credential> {
    let mut found = Found::new(source);
    let understand: Understand = match source.place {
        Place::Login(_) | Place::Secret(_) | Place::Remote(_) => login::read,
        Place::Access(_) => access::read,
        Place::Kubeconfig(_) => kubeconfig::read,
        Place::Certificates(_) | Place::RemoteCertificates(_) | Place::Server(_) => certificates::one,
    };
    found.text("", Ok(Zeroizing::new(text.to_owned())), understand);
    found.seen.credentials
}

/// A file's text, which may hold keys.
pub(crate) fn content(path: &Path) -> Result<Zeroizing<String>, String> {
    let read = || -> io::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| format!("it cannot be read: {error}"))?;
    if text.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} MiB", LARGEST >> 20));
    }
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
