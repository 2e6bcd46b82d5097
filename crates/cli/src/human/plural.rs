//! Singular and plural. No other module forms them.

use super::numbers::grouped;

/// A noun in both numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noun(&'static str, &'static str);

/// agent
pub(crate) const AGENT: Noun = Noun("agent", "agents");
/// certificate authority
pub(crate) const AUTHORITY: Noun = Noun("certificate authority", "certificate authorities");
/// certificate
pub(crate) const CERTIFICATE: Noun = Noun("certificate", "certificates");
/// control plane
pub(crate) const CONTROL_PLANE: Noun = Noun("control plane", "control planes");
/// credential
pub(crate) const CREDENTIAL: Noun = Noun("credential", "credentials");
/// fault
pub(crate) const FAULT: Noun = Noun("fault", "faults");
/// finding
pub(crate) const FINDING: Noun = Noun("finding", "findings");
/// Kubernetes API
pub(crate) const KUBERNETES_API: Noun = Noun("Kubernetes API", "Kubernetes APIs");
/// node
pub(crate) const NODE: Noun = Noun("node", "nodes");
/// pod
pub(crate) const POD: Noun = Noun("pod", "pods");
/// request for a signature
pub(crate) const SIGNING_REQUEST: Noun = Noun("signing request", "signing requests");
/// request
pub(crate) const REQUEST: Noun = Noun("request", "requests");
/// restart
pub(crate) const RESTART: Noun = Noun("restart", "restarts");
/// step
pub(crate) const STEP: Noun = Noun("step", "steps");
/// time, as in "three times"
pub(crate) const TIME: Noun = Noun("time", "times");
/// place
pub(crate) const PLACE: Noun = Noun("place", "places");
/// try
pub(crate) const TRY: Noun = Noun("try", "tries");
/// workload
pub(crate) const WORKLOAD: Noun = Noun("workload", "workloads");

/// The noun alone, in the number that fits.
pub(crate) const fn noun(count: u64, noun: Noun) -> &'static str {
    if count == 1 { noun.0 } else { noun.1 }
}

/// "1 step", "2,229 requests".
pub(crate) fn count(count: usize, of: Noun) -> String {
    let count = count as u64;
    format!("{} {}", grouped(count), noun(count, of))
}

/// "no request", "1 request", "3 requests".
pub(crate) fn count_or_no(number: usize, of: Noun) -> String {
    if number == 0 { format!("no {}", of.0) } else { count(number, of) }
}

/// "was" or "were".
pub(crate) const fn were(count: usize) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

/// "needs" or "need".
pub(crate) const fn need(count: usize) -> &'static str {
    if count == 1 { "needs" } else { "need" }
}

/// The first few by name and the number of the rest: "a, b and 7 more".
pub(crate) fn some(items: &[String], at_most: usize) -> String {
    if items.len() <= at_most {
        return list(items);
    }
    format!("{} and {} more", items[..at_most].join(", "), items.len() - at_most)
}

/// "a", "a and b", "a, b and c".
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_nouns_agree() {
        assert_eq!(count(0, STEP), "0 steps");
        assert_eq!(count(1, STEP), "1 step");
        assert_eq!(count(2229, REQUEST), "2,229 requests");
        assert_eq!(count_or_no(0, REQUEST), "no request");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
