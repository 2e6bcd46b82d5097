//! From what `kubecert-pki` reads to what an inventory keeps.

use kubecert_core::inventory::CertificateFacts;
use kubecert_pki::{Certificate, SubjectAltName};

/// The facts of a certificate, as every adapter reports them, so that two reports of one certificate are equal.
pub fn certificate_facts(certificate: &Certificate) -> CertificateFacts {
    CertificateFacts {
        fingerprint: certificate.fingerprint().to_string(),
        pem: certificate.to_pem(),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: certificate.serial_hex(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        is_ca: certificate.is_ca(),
        sans: certificate.sans().iter().map(san_text).collect(),
        key: certificate.key_algorithm().to_string(),
        signed_by: None,
    }
}

/// Names and addresses bare, since that is how plans, reports and people write them; other kinds with their kind.
fn san_text(san: &SubjectAltName) -> String {
    match san {
        SubjectAltName::Dns(name) => name.clone(),
        SubjectAltName::Ip(address) => address.to_string(),
        other => other.to_string(),
    }
}
