//! How an authority is: its health, its version, and which one it is.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use kubecert_pki::Certificate;
use serde::{Serialize, Serializer};

use super::code::{MocCode, Refusal};
use super::error::whole_seconds;
use super::live::Live;
use super::rights::Right;
use super::service::Call;
use super::wire::{
    AgentInfoResponse, Health as WireHealth, HealthRequest, HealthResponse, ItemStatus, NodeInfo, Nothing,
    TRUE, VersionResponse, health as state,
};

/// A CA with so much or less left should be replaced: the vendor's threshold for a CA of a year.
const REPLACE_CA_BEFORE: SignedDuration = SignedDuration::from_hours(90 * 24);

/// For CAs of less than a year: this part of its life, so that a short-lived one is not always to be replaced.
const REPLACE_CA_PART: i32 = 4;

/// How an authority is, by its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// 1: there is nothing to be done.
    Ok,
    /// 2. Assumed: its CA should be replaced.
    Warning,
    /// 3. Assumed: its CA has ended.
    Critical,
    /// Another number of the wire API.
    Other(i32),
}

/// What an authority says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentInfo {
    /// Its name; empty if it tells none.
    pub name: String,
    /// A random id that never changes; empty if it tells none.
    pub deployment_id: String,
    /// Its program's version, as it words it.
    pub version: String,
    /// Its health.
    pub health: Health,
}

impl Health {
    /// By the CA that signs: OK; WARNING once 90 days or a quarter of its life are left, whichever is less; CRITICAL once it has ended.
    ///
    /// That health is about the CA is assumed.
    pub fn of_ca(root: &Certificate, now: Timestamp) -> Self {
        let (begins, ends) = (root.not_before(), root.not_after());
        // The last second counts in full (RFC 5280 §4.1.2.5).
        if now.as_second() > ends.as_second() {
            return Self::Critical;
        }
        let life = ends.duration_since(begins);
        if ends.duration_since(now) <= REPLACE_CA_BEFORE.min(life / REPLACE_CA_PART) {
            return Self::Warning;
        }
        Self::Ok
    }

    pub(super) fn from_number(number: i32) -> Self {
        match number {
            state::OK => Self::Ok,
            state::WARNING => Self::Warning,
            state::CRITICAL => Self::Critical,
            other => Self::Other(other),
        }
    }

    fn number(self) -> i32 {
        match self {
            Self::Ok => state::OK,
            Self::Warning => state::WARNING,
            Self::Critical => state::CRITICAL,
            Self::Other(number) => number,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("OK"),
            Self::Warning => f.write_str("WARNING"),
            Self::Critical => f.write_str("CRITICAL"),
            Self::Other(number) => write!(f, "state {number}"),
        }
    }
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the authority of this document says of itself.
pub(super) fn info(live: &Live, now: Timestamp) -> AgentInfo {
    AgentInfo {
        name: live.document.name.clone(),
        deployment_id: live.document.deployment_id.clone(),
        // Nobody shall take it for the vendor's.
        version: concat!("kubecert ", env!("CARGO_PKG_VERSION")).to_owned(),
        health: Health::of_ca(live.signer.certificate(), now),
    }
}

/// Refused where the CA has ended: whatever it signs now, nobody accepts.
pub(super) fn ca_is_good(live: &Live, now: Timestamp) -> Result<(), Refusal> {
    let root = live.signer.certificate();
    match Health::of_ca(root, now) {
        Health::Critical => Err(Refusal::new(
            MocCode::Expired,
            format!("the CA ended at {}", whole_seconds(root.not_after())),
        )),
        _ => Ok(()),
    }
}

/// `HealthAgent/CheckHealth`: it answers, can read what it keeps, and how its CA is.
pub(super) fn check_health(call: &Call, _request: HealthRequest) -> Result<HealthResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    call.caller(&live, now)?.needs(Right::ReadHealth)?;
    let health = info(&live, now).health;
    let error = ca_is_good(&live, now).err().map(|refusal| refusal.to_string()).unwrap_or_default();
    Ok(HealthResponse { result: TRUE, error, state: health.number() })
}

/// `HealthAgent/GetAgentInfo`. Of the host it says nothing but the authority's name.
pub(super) fn agent_info(call: &Call, _request: Nothing) -> Result<AgentInfoResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    call.caller(&live, now)?.needs(Right::ReadHealth)?;
    let AgentInfo { name, deployment_id, health, .. } = info(&live, now);
    let health = Some(WireHealth { current: health.number() });
    let status = super::service::version(1).map(|status| ItemStatus { health, ..status });
    let node = NodeInfo { name, id: deployment_id.clone(), status };
    Ok(AgentInfoResponse { node: Some(node), result: TRUE, error: String::new(), deployment_id })
}

/// `VersionAgent/Get`. Assumed: everybody who may come in may know it, and `mocversion` is about the vendor's own program.
pub(super) fn version(call: &Call, _request: Nothing) -> Result<VersionResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    call.caller(&live, now)?;
    let version = info(&live, now).version;
    Ok(VersionResponse { version, moc_version: String::new(), error: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_the_ca_to_the_second_as_assumed() {
        let begins = Timestamp::from_second(1_800_000_000).unwrap();
        let later = |seconds| begins.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        let root = |lasts_s| {
            let root = super::super::live::first_root("a", begins, lasts_s).unwrap();
            Certificate::from_pem(&root.certificate).unwrap()
        };
        const DAY_S: i64 = 86_400;
        let year = root(365 * DAY_S);
        let short = root(40 * DAY_S);
        let left = |ca: &Certificate, seconds: i64| {
            Health::of_ca(ca, ca.not_after().checked_sub(SignedDuration::from_secs(seconds)).unwrap())
        };
        assert_eq!(Health::of_ca(&year, later(0)), Health::Ok);
        assert_eq!(left(&year, 90 * DAY_S + 1), Health::Ok);
        assert_eq!(left(&year, 90 * DAY_S), Health::Warning);
        assert_eq!((left(&short, 11 * DAY_S), left(&short, 10 * DAY_S)), (Health::Ok, Health::Warning));
        assert_eq!((left(&year, 0), left(&year, -1)), (Health::Warning, Health::Critical));
    }

    #[test]
    fn numbers_of_health_are_those_of_the_wire() {
        for number in 0..8 {
            assert_eq!(Health::from_number(number).number(), number);
        }
        assert_eq!(Health::Other(5).to_string(), "state 5");
    }
}
