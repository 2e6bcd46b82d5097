//! The clients with certificates that an API server's audit log shows.

use jiff::Timestamp;
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{AuditedClient, PortResult};

use super::{QUICK, checked_path, lines, not_understood, text};
use crate::exec::{Exec, Job};

/// Reads the log on the node and tells one line a client from it; requests themselves do not leave the node.
pub(crate) async fn audited_clients(
    exec: &dyn Exec,
    node: &NodeName,
    log: &str,
) -> PortResult<Vec<AuditedClient>> {
    let what = format!("cannot read the audit log {log} on {node}");
    checked_path(log, &what)?;
    let job = Job::new("audit", &[include_str!("../scripts/audit.sh")], QUICK, &what).input(lines([log]));
    let output = exec.run(job).await?;
    text(&output, &what)?
        .lines()
        .map(|line| client(line).ok_or_else(|| not_understood(&what, line)))
        .collect()
}

fn client(line: &str) -> Option<AuditedClient> {
    let mut fields = line.split('\t');
    let mut next = || fields.next().map(str::to_owned);
    let (fingerprint, user, agent, source) = (next()?.to_ascii_lowercase(), next()?, next()?, next()?);
    let mut time = || fields.next()?.parse::<Timestamp>().ok();
    Some(AuditedClient { fingerprint, user, agent, source, first: time()?, last: time()? })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::Local;
    use super::*;

    fn event(id: &str, user: &str, time: &str) -> String {
        format!(
            r#"{{"kind":"Event","level":"Metadata","user":{{"username":"{user}","groups":["system:authenticated"],"extra":{{"authentication.kubernetes.io/credential-id":["X509SHA256={id}"]}}}},"sourceIPs":["10.0.0.7","10.0.0.1"],"userAgent":"kubectl/v1.34.4 (linux/amd64)","requestReceivedTimestamp":"{time}"}}"#
        )
    }

    #[tokio::test]
    async fn clients_are_told_once_with_their_first_and_last_request() {
        let node = Local::new();
        let log = std::path::PathBuf::from(node.path("audit.log"));
        let token = r#"{"kind":"Event","user":{"username":"system:serviceaccount:a:b"},"requestReceivedTimestamp":"2026-11-22T01:00:00.000000Z"}"#;
        let events = [
            event("AB12", "alice", "2026-11-22T01:00:00.000000Z"),
            token.to_owned(),
            event("cd34", "bob", "2026-11-22T01:00:01.000000Z"),
            event("AB12", "alice", "2026-11-22T01:00:02.000000Z"),
        ];
        fs::write(&log, events.join("\n") + "\n").unwrap();
        let found = audited_clients(&node, &"n".into(), log.to_str().unwrap()).await.unwrap();
        assert_eq!(found.len(), 2);
        let alice = &found[0];
        assert_eq!((alice.fingerprint.as_str(), alice.user.as_str()), ("ab12", "alice"));
        assert_eq!(
            (alice.agent.as_str(), alice.source.as_str()),
            ("kubectl/v1.34.4 (linux/amd64)", "10.0.0.7")
        );
        assert_eq!(alice.last.as_second() - alice.first.as_second(), 2);
        let none = audited_clients(&node, &"n".into(), "/nowhere/audit.log").await.unwrap();
        assert!(none.is_empty());
    }
}
