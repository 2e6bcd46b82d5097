//! Access files: a client's certificate and key, and the roots of the authority.
//!
//! JSON with the keys of the public client library (`pkg/auth`, `WssdConfig`), each value base64 of PEM. That library writes it
//! readable by everybody when it renews, not at once, and without a lock; here it is replaced as a whole, by one client at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use kubecert_pki::{Certificate, KeyEncoding, PrivateKey, parse_pem_certificates, to_pem_chain};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::code::MocCode;
use super::error::{AuthorityError, or_the_clock, whole_seconds};
use super::login_file::decode_roots;
use crate::apimodel::write_private;
use crate::arc::content;

/// How much of its life a certificate has left when it is renewed, in hundredths: the public library's threshold.
pub const RENEW_BELOW_PERCENT: i32 = 30;

/// After how much of its life a renewal that has failed is tried again, in hundredths: the public library's pause.
pub const RENEWAL_RETRY_PERCENT: i32 = 2;

/// How far a certificate may begin in the future before a clock is said to be wrong. The authority signs from its own "now" on,
/// and judges by its own clock; clocks of one site differ by seconds, and those that are wrong by hours or days.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

const LOG_IN: &str = "Log in again with a login file whose token is good: `kubecert authority login`.";

/// An access file's content. Certificate and key belong together.
#[derive(Clone, Debug)]
pub struct AccessFile {
    // Invariant: the first of `chain` is certified for `key`; kept by `new`.
    chain: Vec<Certificate>,
    key: PrivateKey,
    /// Whom the client trusts as a server.
    pub roots: Vec<Certificate>,
    /// The identity's name; older files do not have it.
    pub identity: String,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    cloud_certificate: Option<String>,
    client_certificate: Option<String>,
    client_key: Option<SecretString>,
    identity_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Rendered<'a> {
    cloud_certificate: String,
    client_certificate: String,
    client_key: &'a str,
    identity_name: &'a str,
    client_certificate_type: &'static str,
}

impl AccessFile {
    /// Puts it together.
    ///
    /// # Errors
    ///
    /// When there is no certificate, or the key is another's.
    pub fn new(
        chain: Vec<Certificate>,
        key: PrivateKey,
        roots: Vec<Certificate>,
        identity: String,
    ) -> Result<Self, String> {
        let leaf = chain.first().ok_or("its ClientCertificate is empty")?;
        if !key.matches(leaf) {
            return Err(
                "its ClientKey does not fit its ClientCertificate, so that nobody can use it".to_owned()
            );
        }
        Ok(Self { chain, key, roots, identity })
    }

    /// Reads an access file.
    ///
    /// # Errors
    ///
    /// Says whether it cannot be read, is empty, is no access file, or which of its parts is wrong. Nobody connects without a
    /// certificate because of that.
    pub fn read(path: &Path) -> Result<Self, AuthorityError> {
        let text = content(path);
        text.and_then(|text| Self::parse(&text)).map_err(|cause| {
            AuthorityError::new(format!("cannot use access file {}", path.display()), cause).remedy(LOG_IN)
        })
    }

    /// As [`AccessFile::read`], from its text.
    ///
    /// # Errors
    ///
    /// As [`AccessFile::read`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written =
            serde_json::from_str(text).map_err(|_| "it is no access file: it is not JSON".to_owned())?;
        let present = |text: Option<String>, what: &str| {
            text.filter(|text| !text.is_empty()).ok_or_else(|| format!("it has no {what}"))
        };
        let chain = present(written.client_certificate, "ClientCertificate")?;
        let chain = STANDARD.decode(chain.trim()).map_err(|_| "its ClientCertificate is not in base64")?;
        let chain =
            parse_pem_certificates(chain).map_err(|error| format!("its ClientCertificate: {error}"))?;
        let key = written.client_key.ok_or("it has no ClientKey")?;
        let key =
            STANDARD.decode(key.expose_secret().trim()).map_err(|_| "its ClientKey is not in base64")?;
        let key = Zeroizing::new(key);
        let key = std::str::from_utf8(&key).map_err(|_| "its ClientKey is no PEM")?;
        let key = PrivateKey::from_pem(key).map_err(|error| format!("its ClientKey: {error}"))?;
        let roots = present(written.cloud_certificate, "CloudCertificate")?;
        let roots = decode_roots(&roots, "its CloudCertificate")?;
        Self::new(chain, key, roots, written.identity_name.unwrap_or_default())
    }

    /// The file's text.
    ///
    /// # Errors
    ///
    /// Only when memory runs out.
    pub fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        // PKCS#1, since the public library reads no other keys when it renews.
        let key = self.key.to_pem(KeyEncoding::Pkcs1OrSec1).map_err(|error| error.to_string())?;
        let key = Zeroizing::new(STANDARD.encode(key.expose()));
        let rendered = Rendered {
            cloud_certificate: STANDARD.encode(to_pem_chain(&self.roots)),
            client_certificate: STANDARD.encode(to_pem_chain(&self.chain)),
            client_key: &key,
            identity_name: &self.identity,
            client_certificate_type: "CA-Signed",
        };
        // Long enough for all of it, so that no piece of the key is left behind where the text has grown.
        let mut text = Zeroizing::new(Vec::with_capacity(64 << 10));
        serde_json::to_writer(&mut *text, &rendered).map_err(|error| error.to_string())?;
        Ok(text)
    }

    /// Writes it, for its owner alone, at once and durably: certificate and key change together.
    ///
    /// # Errors
    ///
    /// When it cannot be written; what was there before stays.
    pub fn write(&self, path: &Path) -> Result<(), AuthorityError> {
        let failed = |cause: String| {
            AuthorityError::new(format!("cannot write access file {}", path.display()), cause).remedy(
                "What was there before is unchanged and as good as it was; the new certificate is lost, and asking again \
                 makes another one.",
            )
        };
        let text = self.to_json().map_err(failed)?;
        write_private(path, &text).map_err(|error| failed(kubecert_engine::issue::chain(&error)))
    }

    /// The client's certificate.
    pub fn certificate(&self) -> &Certificate {
        // `new` refuses an empty chain.
        &self.chain[0]
    }

    /// The client's certificate, and intermediates if there are any.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The client's key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// From when on it is renewed: 30 % of its life before it ends.
    pub fn renewal_due(&self) -> Timestamp {
        due(self.certificate())
    }

    /// Whether its certificate is good at `now`, without asking anybody.
    ///
    /// # Errors
    ///
    /// When it has ended, or has not begun; or the clock is wrong.
    pub fn check_time(&self, what: &str, now: Timestamp) -> Result<(), AuthorityError> {
        let certificate = self.certificate();
        // The last second counts in full (RFC 5280 §4.1.2.5).
        if now.as_second() > certificate.not_after().as_second() {
            let cause = format!("the client's certificate ended at {}", certificate.not_after());
            return Err(AuthorityError::new(what, cause)
                .code(MocCode::Expired)
                .remedy(or_the_clock(now, "What has ended cannot be renewed. Log in again with a login file whose token is good: `kubecert authority login`.")));
        }
        if certificate.not_before().duration_since(now) > CLOCKS_DIFFER {
            let begins = certificate.not_before();
            let cause =
                format!("the client's certificate begins at {begins}, and now it is {}", whole_seconds(now));
            return Err(
                AuthorityError::new(what, cause).remedy("Set this machine's clock, or the authority's.")
            );
        }
        Ok(())
    }
}

/// From when on a certificate is renewed.
pub(super) fn due(certificate: &Certificate) -> Timestamp {
    let (begins, ends) = (certificate.not_before(), certificate.not_after());
    let life = ends.duration_since(begins);
    // Hundredths first: no life of a certificate overflows that, and short ones keep their fractions.
    let left = SignedDuration::from_millis(
        i64::try_from(life.as_millis() * i128::from(RENEW_BELOW_PERCENT) / 100).unwrap_or(i64::MAX),
    );
    ends.checked_sub(left).unwrap_or(begins)
}

/// Keeps other renewals away from an access file, until it is dropped.
#[derive(Debug)]
pub struct AccessLock {
    _file: File,
}

impl AccessLock {
    /// Takes the lock beside an access file. The file itself cannot be locked, since it is replaced.
    ///
    /// # Errors
    ///
    /// When somebody else has it.
    pub fn take(path: &Path) -> Result<Self, AuthorityError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let beside = PathBuf::from(beside);
        let what = || format!("cannot lock access file {}", path.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&beside)
            .map_err(|error| AuthorityError::new(what(), format!("{}: {error}", beside.display())))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(AuthorityError::new(what(), "another process is changing it")
                    .remedy("Wait until it is done, and run the same command again."))
            }
            Err(TryLockError::Error(error)) => Err(AuthorityError::new(what(), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_access_file_is_told() {
        for (text, why) in [
            ("name: a", "it is no access file: it is not JSON"),
            ("{}", "it has no ClientCertificate"),
            (r#"{"ClientCertificate": "%"}"#, "its ClientCertificate is not in base64"),
            (r#"{"ClientCertificate": "YQ=="}"#, "its ClientCertificate: no certificate in the PEM text"),
        ] {
            assert_eq!(AccessFile::parse(text).expect_err(text), why);
        }
    }
}
