//! Certificates with dates of one's choice: openssl's `req` knows only lives that begin now, its `ca` any.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cmd::{CommandExt as _, cmd};

/// When something was made and when it ends, in words that `date -d` understands.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) from: String,
    pub(crate) until: String,
}

impl Life {
    /// Begun so many days ago, with so many to go.
    pub(crate) fn aged(days_ago: u32, days_left: u32) -> Self {
        Self { from: format!("{days_ago} days ago"), until: format!("{days_left} days") }
    }
}

/// A CA, as openssl signs with it.
pub(crate) struct Issuer {
    scratch: PathBuf,
    ca: PathBuf,
}

impl Issuer {
    /// The one whose `ca.crt` and `ca.key` are in `directory`; works in `scratch`.
    pub(crate) fn new(scratch: &Path, directory: &Path) -> Result<Self> {
        Self::of(scratch, directory.join("ca.crt"))
    }

    /// The one with this certificate, whose key has the same name but for its ending.
    pub(crate) fn of(scratch: &Path, ca: PathBuf) -> Result<Self> {
        let text = format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={0}/index.txt\nnew_certs_dir={0}\ncertificate={1}\nprivate_key={2}\n\
             default_md=sha256\npolicy=p\ncopy_extensions=copyall\nunique_subject=no\nrand_serial=yes\n\
             [p]\norganizationName=optional\ncommonName=supplied\n",
            scratch.display(),
            ca.display(),
            ca.with_extension("key").display()
        );
        fs::write(scratch.join("ca.cnf"), text)?;
        fs::write(scratch.join("index.txt"), "")?;
        Ok(Self { scratch: scratch.to_owned(), ca })
    }

    /// Whether it has signed that, and is not that itself.
    pub(crate) fn has_signed(&self, certificate: &str) -> Result<bool> {
        let file = self.scratch.join("asked.crt");
        fs::write(&file, certificate)?;
        Ok(cmd("openssl", ["verify", "-no_check_time", "-CAfile"]).arg(&self.ca).arg(&file).succeeds()
            && fs::read(&self.ca)? != certificate.as_bytes())
    }

    /// The same certificate, for the same key, with another life.
    pub(crate) fn again(&self, certificate: &str, key: &Path, life: &Life) -> Result<String> {
        self.sign(certificate, key, life, &[])
    }

    /// The CA's own certificate with another life.
    pub(crate) fn itself_again(&self, life: &Life) -> Result<String> {
        let (certificate, key) = (fs::read_to_string(&self.ca)?, self.ca.with_extension("key"));
        self.sign(&certificate, &key, life, &["-selfsign"])
    }

    fn sign(&self, certificate: &str, key: &Path, life: &Life, how: &[&str]) -> Result<String> {
        let at = |name: &str| self.scratch.join(name);
        fs::write(at("old.crt"), certificate)?;
        cmd("openssl", ["x509", "-x509toreq", "-copy_extensions", "copyall", "-in"])
            .arg(at("old.crt"))
            .arg("-key")
            .arg(key)
            .arg("-out")
            .arg(at("new.csr"))
            .read()?;
        let date = |when: &str| cmd("date", ["-u", "-d", when, "+%Y%m%d%H%M%SZ"]).read();
        cmd("openssl", ["ca", "-batch", "-notext", "-preserveDN", "-config"])
            .arg(at("ca.cnf"))
            .args(how)
            .args(["-startdate", date(&life.from)?.trim(), "-enddate", date(&life.until)?.trim()])
            .arg("-in")
            .arg(at("new.csr"))
            .arg("-out")
            .arg(at("new.crt"))
            .read()?;
        Ok(fs::read_to_string(at("new.crt"))?)
    }
}

/// The first certificate in a text, as PEM.
pub(crate) fn first_certificate(text: &str) -> Option<&str> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let begin = text.find("-----BEGIN CERTIFICATE-----")?;
    let end = begin + text[begin..].find(END)? + END.len();
    Some(&text[begin..end])
}
