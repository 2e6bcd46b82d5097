//! Certificates, requests and keys, as PEM and as bare DER: mutations behind base64 reach little.

use jiff::Timestamp;
use kubecert_pki::{
    Certificate, Csr, KeyEncoding, PrivateKey, PublicKey, Template, Usage, next_ca_subject,
    read_pem_certificates, to_pem_chain, verify_chain, verify_server_name,
};

use crate::choice;

/// PEM bundles and DER certificates: what is read is asked for everything, and written and read again.
pub fn certificate(data: &[u8]) {
    let Some((first, rest)) = choice(data) else { return };
    let found: Vec<Certificate> = match first {
        b'D' => Certificate::from_der(rest).into_iter().collect(),
        _ => read_pem_certificates(rest).into_iter().flatten().collect(),
    };
    for certificate in &found {
        ask(certificate);
    }
    let text = to_pem_chain(&found);
    let again: Vec<Certificate> = read_pem_certificates(&text).into_iter().flatten().collect();
    assert_eq!(found, again, "written and read again");
    if let [leaf, rest @ ..] = found.as_slice()
        && let Ok(now) = Timestamp::from_second(1_800_000_000)
    {
        // Verdicts do not matter here; that there is one does.
        let _verdict = verify_chain(leaf, rest, rest, now, Usage::ServerAuth);
        let _verdict = verify_server_name(leaf, "kubernetes.default.svc");
    }
}

fn ask(certificate: &Certificate) {
    let shown = format!(
        "{certificate:?} {} {:?} {} {:?} {:?} {:?} {:?}",
        certificate.serial_hex(),
        certificate.validity(),
        certificate.not_after(),
        certificate.key_usage(),
        certificate.extended_key_usage(),
        certificate.key_id(),
        certificate.aki()
    );
    assert!(!shown.is_empty());
    let _facts = kubecert_engine::facts::certificate_facts(certificate);
    let (subject, _) = (certificate.subject(), certificate.is_self_signed());
    let _user = (subject.last_common_name(), subject.organizations(), certificate.path_len());
    if let Ok(next) = next_ca_subject(subject) {
        assert_ne!(next.der(), subject.der(), "the next CA has another name");
    }
    let template = Template::from_certificate(certificate);
    assert_eq!(template.subject().der(), subject.der(), "a template takes the subject over");
    let _ca = template.is_ca();
    if let Ok(pem) = certificate.public_key().to_pem() {
        assert!(PublicKey::from_pem(&pem).is_ok(), "a public key is read again");
    }
}

/// Signing requests.
pub fn csr(data: &[u8]) {
    let Some((first, rest)) = choice(data) else { return };
    let read = if first == b'D' { Csr::from_der(rest) } else { Csr::from_pem(rest) };
    let Ok(request) = read else { return };
    let again = Csr::from_pem(request.to_pem());
    assert!(again.is_ok_and(|again| again.der() == request.der()), "written and read again");
    let _shown = (request.subject().to_string(), request.template().is_ca());
}

/// Private keys. What is read is written in both encodings and read again.
pub fn private_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match PrivateKey::from_pem(text) {
        Ok(key) => {
            for encoding in [KeyEncoding::Pkcs1OrSec1, KeyEncoding::Pkcs8] {
                let Ok(pem) = key.to_pem(encoding) else { continue };
                let again = PrivateKey::from_pem(pem.expose());
                assert!(again.is_ok_and(|again| again.public_key() == key.public_key()), "{encoding:?}");
            }
        }
        // An error is shown to people.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
