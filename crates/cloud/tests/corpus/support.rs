//! Finding the corpus.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use kubecert_cloud::apimodel::{ApiModel, CertificateProfile, Entry};
use kubecert_pki::Certificate;

/// How many models there are; a corpus with fewer is a broken checkout, not a reason to test less.
const MODELS: usize = 14;

/// One model of the corpus.
pub(crate) struct Case {
    /// The directory's name.
    pub(crate) name: String,
    /// The directory.
    pub(crate) directory: PathBuf,
    /// The bytes of `apimodel.json`.
    pub(crate) bytes: Vec<u8>,
    /// The same, read.
    pub(crate) model: ApiModel,
}

impl Case {
    /// The PKI that the ancestor made.
    pub(crate) fn profile(&self) -> &CertificateProfile {
        self.model.certificate_profile().unwrap()
    }

    /// A certificate that the ancestor made.
    pub(crate) fn certificate(&self, entry: Entry) -> Certificate {
        certificate(self.profile(), entry)
    }

    /// A time at which the ancestor's certificates are valid.
    pub(crate) fn now(&self) -> Timestamp {
        self.certificate(Entry::Ca).not_before().checked_add(SignedDuration::from_hours(24)).unwrap()
    }

    /// Every entry of this cluster.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + use<> {
        Entry::all(self.model.master_ips().len())
    }
}

/// The certificate of `entry` in `profile`.
pub(crate) fn certificate(profile: &CertificateProfile, entry: Entry) -> Certificate {
    Certificate::from_pem(profile.certificate(entry).unwrap()).unwrap()
}

/// All models, or none with a line that says so.
pub(crate) fn cases() -> Vec<Case> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let corpus = std::env::var_os("KUBECERT_CORPUS").map_or_else(beside, PathBuf::from).join("apimodels");
    let Ok(directories) = fs::read_dir(&corpus) else {
        println!("skipped: no corpus at {}", corpus.display());
        return Vec::new();
    };
    let mut cases: Vec<Case> = directories.map(|directory| read(directory.unwrap().path())).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() >= MODELS, "{} models in {}", cases.len(), corpus.display());
    cases
}

fn read(directory: PathBuf) -> Case {
    let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
    let bytes = fs::read(directory.join("apimodel.json")).unwrap();
    let model = ApiModel::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    Case { name, directory, bytes, model }
}
