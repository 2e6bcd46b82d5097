//! What an error from the network means, whatever libraries it came through.

use std::error::Error;
use std::io;

use kubecert_engine::ports::{Fault, PortError};
use rustls::AlertDescription;

/// What an error chain says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symptom {
    /// The server ended the handshake because of our client certificate.
    CertificateRefused,
    /// We do not accept the server's certificate.
    ServerNotTrusted,
    /// The connection could not be made, or it broke.
    Broken,
    /// It took too long.
    TimedOut,
    /// None of these.
    Other,
}

impl Symptom {
    /// Reads the whole chain of an error.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut found = Symptom::Other;
        for cause in causes(error) {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::of_tls(tls);
            }
            if found == Symptom::Other {
                found = Self::of_transport(cause);
            }
        }
        found
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) if refuses_certificate(*alert) => Symptom::CertificateRefused,
            // An alert of another kind ends the connection, for example `internal_error` from a server that is being
            // stopped or whose files do not fit each other at this moment. That passes.
            rustls::Error::AlertReceived(_) => Symptom::Broken,
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                Symptom::ServerNotTrusted
            }
            _ => Symptom::Other,
        }
    }

    fn of_transport(cause: &(dyn Error + 'static)) -> Self {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return match io.kind() {
                io::ErrorKind::TimedOut => Symptom::TimedOut,
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
                    Symptom::Other
                }
                _ => Symptom::Broken,
            };
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            if hyper.is_timeout() {
                return Symptom::TimedOut;
            }
            if hyper.is_incomplete_message()
                || hyper.is_canceled()
                || hyper.is_closed()
                || hyper.is_body_write_aborted()
            {
                return Symptom::Broken;
            }
        }
        match cause.downcast_ref::<hyper_util::client::legacy::Error>() {
            Some(error) if error.is_connect() => Symptom::Broken,
            _ => Symptom::Other,
        }
    }

    /// Who must act.
    pub(crate) const fn fault(self) -> Fault {
        match self {
            Symptom::CertificateRefused | Symptom::ServerNotTrusted => Fault::Refused,
            Symptom::Broken => Fault::Unreachable,
            Symptom::TimedOut => Fault::Timeout,
            Symptom::Other => Fault::Unexpected,
        }
    }

    /// What the operator can do, where that is clear.
    pub(crate) const fn remedy(self) -> Option<&'static str> {
        match self {
            Symptom::CertificateRefused => Some(
                "Check that the client certificate has not ended and that its CA is the one the cluster trusts.",
            ),
            Symptom::ServerNotTrusted => Some(
                "Check that the CA given for the cluster is the one that signed this server's certificate, and that \
                 nothing between here and the cluster ends TLS.",
            ),
            Symptom::Broken | Symptom::TimedOut | Symptom::Other => None,
        }
    }
}

/// Turns an error from the network into a port's error.
pub(crate) fn port_error(what: impl Into<String>, error: &(dyn Error + 'static)) -> PortError {
    let symptom = Symptom::of(error);
    let port_error = PortError::new(symptom.fault(), what, one_line(error));
    match symptom.remedy() {
        Some(remedy) => port_error.remedy(remedy),
        None => port_error,
    }
}

/// The whole chain of an error in one line, without what a cause only repeats.
pub(crate) fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for cause in causes(error) {
        let text = cause.to_string().replace(['\n', '\r'], " ");
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

/// The error and its causes. `io::Error::source` skips the error that it wraps, which is just where rustls puts its own.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    /// No chain is this long; a cycle would be.
    const DEEPEST: usize = 16;
    let next = |cause: &&'a (dyn Error + 'static)| -> Option<&'a (dyn Error + 'static)> {
        let cause: &'a (dyn Error + 'static) = *cause;
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        }
    };
    std::iter::successors(Some(error), next).take(DEEPEST)
}

/// Whether an alert is about the certificate that we presented.
///
/// `handshake_failure` and `decrypt_error` are left out: they also stand for missing common algorithms, and what is
/// taken for a refusal here may become evidence that an old CA is no longer trusted.
const fn refuses_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_found_below_the_layers_of_io() {
        let tls = rustls::Error::AlertReceived(AlertDescription::BadCertificate);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert_eq!(Symptom::of(&wrapped), Symptom::CertificateRefused);
        assert_eq!(one_line(&wrapped).matches("BadCertificate").count(), 1);
    }

    #[test]
    fn a_server_that_is_being_stopped_does_not_count_as_one_that_refuses() {
        for (kind, symptom) in [
            (io::ErrorKind::ConnectionReset, Symptom::Broken),
            (io::ErrorKind::UnexpectedEof, Symptom::Broken),
            (io::ErrorKind::ConnectionRefused, Symptom::Broken),
            (io::ErrorKind::TimedOut, Symptom::TimedOut),
        ] {
            assert_eq!(Symptom::of(&io::Error::from(kind)), symptom);
        }
        let alert = rustls::Error::AlertReceived(AlertDescription::InternalError);
        assert_eq!(Symptom::of(&alert), Symptom::Broken);
        assert!(port_error("x", &alert).is_transient());
    }
}
