//! What russh's errors mean to an operator.

use kubecert_engine::ports::{Fault, PortError};
use russh::{ChannelOpenFailure, Error};

/// An error of the connection itself.
pub(crate) fn protocol_error(what: &str, source: &Error) -> PortError {
    match source {
        Error::NoCommonAlgo { kind, ours, theirs } => PortError::new(
            Fault::Refused,
            what,
            format!(
                "no common {kind:?} algorithm: we offer {}, the host {}",
                ours.join(","),
                theirs.join(",")
            ),
        )
        .remedy("Allow one of ours in the host's sshd_config."),
        Error::Version => PortError::new(Fault::Refused, what, "whoever answers there is not an SSH server")
            .remedy("See that host and port are those of its sshd."),
        Error::Disconnect | Error::HUP | Error::SendError | Error::RecvError => PortError::new(
            Fault::Unreachable,
            what,
            "the host closed the connection",
        )
        .remedy(
            "Look at the host's sshd journal; too many logins at once (MaxStartups) and bans look like this.",
        ),
        other => PortError::new(Fault::Unreachable, what, chain(other)),
    }
}

/// An error of opening a connection from the host `through` to somewhere else.
pub(crate) fn tunnel_error(what: &str, through: &str, source: &Error) -> PortError {
    match source {
        Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
            PortError::new(Fault::Refused, what, "its sshd does not allow TCP forwarding")
                .remedy(format!("Set `AllowTcpForwarding yes` in the sshd_config of {through}."))
        }
        Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed) => {
            PortError::new(Fault::Unreachable, what, "it does not resolve there, or nothing answers")
        }
        Error::ChannelOpenFailure(ChannelOpenFailure::Other { reason, .. }) => {
            PortError::new(Fault::Unreachable, what, reason)
        }
        other => protocol_error(what, other),
    }
}

/// The whole chain of an error in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
