//! What a site of AKS Arc keeps its credentials in, and the file that names them.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kubecert_cloud::arc::{self, Place, Site, Source};
use kubecert_core::assess::{self, Class, Verdict};

/// Site files, login files, access files, kubeconfigs and PEM files; the first byte says which.
pub fn site(data: &[u8]) {
    let Some((kind, rest)) = crate::choice(data) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let place = match kind {
        b'L' => Place::Login(PathBuf::new()),
        b'A' => Place::Access(PathBuf::new()),
        b'K' => Place::Kubeconfig(PathBuf::new()),
        b'C' => Place::Certificates(PathBuf::new()),
        _ => return drop(Site::parse(text, Path::new("/site"))),
    };
    let (class, cluster, holder) = (Class::CsiDriver, Some("c".to_owned()), "h".to_owned());
    let found =
        arc::understood(&Source { class, cluster, holder, ephemeral: false, identity: None, place }, text);
    assert!(!found.is_empty(), "what holds nothing is told as unreadable");
    for finding in assess::measured(&found, Timestamp::UNIX_EPOCH) {
        let known = finding.not_after.is_some();
        assert!(known || finding.judgement.verdict == Verdict::Unknown, "what was not read is never fine");
    }
}
