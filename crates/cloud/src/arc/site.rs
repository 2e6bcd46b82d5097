//! The site file: which credentials a site has, and where each can be read.

use std::fmt;
use std::path::{Path, PathBuf};

use kubecert_core::assess::Class;
use serde::Deserialize;

use super::content;

/// A site: an infrastructure, and the clusters on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// How it is called.
    pub name: String,
    /// What is to be read of it.
    pub sources: Vec<Source>,
}

/// One place with credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What they are for.
    pub class: Class,
    /// Of which cluster they are, if of one.
    pub cluster: Option<String>,
    /// Who holds them.
    pub holder: String,
    /// Whether a restart of the holder loses them.
    pub ephemeral: bool,
    /// Where they are.
    pub place: Place,
}

/// Where credentials are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A login file with a token.
    Login(PathBuf),
    /// An access file with a client certificate.
    Access(PathBuf),
    /// A kubeconfig.
    Kubeconfig(PathBuf),
    /// A PEM file, or a directory of them.
    Certificates(PathBuf),
    /// A TLS server, as `host:port`; it is asked for what it presents, without any credential.
    Server(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Login(path)
            | Place::Access(path)
            | Place::Kubeconfig(path)
            | Place::Certificates(path) => path.display().fmt(f),
            Place::Server(address) => f.write_str(address),
        }
    }
}

/// Why a site file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is not a site file.
    #[error("it is no site file: {0}")]
    Malformed(String),
    /// An entry is not one.
    #[error("entry {number} (class {class}) {why}")]
    Entry {
        /// Which one, from 1.
        number: usize,
        /// Its class.
        class: Class,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Site {
    /// Reads a site file. Paths in it are relative to its own directory.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read, has fields that are not known, or an entry does not name exactly one place.
    pub fn read(path: &Path) -> Result<Self, SiteError> {
        let text = content(path).map_err(SiteError::Unreadable)?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")))
    }

    /// As [`Site::read`], from text whose paths are relative to `directory`.
    ///
    /// # Errors
    ///
    /// As [`Site::read`].
    pub fn parse(text: &str, directory: &Path) -> Result<Self, SiteError> {
        let written: Written =
            serde_saphyr::from_str(text).map_err(|error| SiteError::Malformed(error.to_string()))?;
        let sources = written.credentials.into_iter().enumerate();
        let sources = sources.map(|(index, entry)| entry.understood(index + 1, directory));
        Ok(Self { name: written.name, sources: sources.collect::<Result<_, _>>()? })
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    credentials: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    class: Class,
    cluster: Option<String>,
    holder: Option<String>,
    #[serde(default)]
    ephemeral: bool,
    login: Option<PathBuf>,
    access: Option<PathBuf>,
    kubeconfig: Option<PathBuf>,
    certificates: Option<PathBuf>,
    server: Option<String>,
}

impl Entry {
    fn understood(self, number: usize, directory: &Path) -> Result<Source, SiteError> {
        let class = self.class;
        let wrong = |why| SiteError::Entry { number, class, why };
        let file = |path: Option<PathBuf>| path.map(|path| directory.join(path));
        let mut places = [
            file(self.login).map(Place::Login),
            file(self.access).map(Place::Access),
            file(self.kubeconfig).map(Place::Kubeconfig),
            file(self.certificates).map(Place::Certificates),
            self.server.map(Place::Server),
        ]
        .into_iter()
        .flatten();
        let (Some(place), None) = (places.next(), places.next()) else {
            return Err(wrong(
                "must name one of login, access, kubeconfig, certificates and server, and one only",
            ));
        };
        if matches!(&place, Place::Server(address) if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()))
        {
            return Err(wrong("names a server that is not HOST:PORT"));
        }
        if class.layer() != kubecert_core::assess::Layer::Infrastructure && self.cluster.is_none() {
            return Err(wrong("must say of which cluster it is"));
        }
        let holder = self.holder.unwrap_or_else(|| class.to_string());
        Ok(Source { class, cluster: self.cluster, holder, ephemeral: self.ephemeral, place })
    }
}
