//! Whether a certificate is the one that was asked for: no less, and no more.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use kubecert_core::intent::Limits;
use kubecert_core::model::TrustDomain;
use kubecert_core::plan::Plan;
use kubecert_pki::{BACK_DATE, Certificate};

use super::{ASKED_FOR, Given, Request};
use crate::vault::PkiSet;

/// Something that is wrong with a certificate that was given, as a sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Where the certificate comes from, or the leaf where there is none.
    pub about: String,
    /// What is wrong.
    pub unfit: Unfit,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// None was given for the request of that name.
    Missing(String),
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// There is more behind the leaf than the CA itself: so many certificates.
    Chain(usize),
    /// It is for another key than the request of that name.
    OtherKey(String),
    /// The CA in force has not signed it: whose it is, its name, its fingerprint, and why not.
    OtherCa(TrustDomain, String, String, String),
    /// It is for somebody else: for whom, and for whom it should be.
    Subject(String, String),
    /// Names or usages are not those that were asked for: which of them, what lacks, what is too much.
    Differs(&'static str, Vec<String>, Vec<String>),
    /// It may sign certificates.
    IsCa,
    /// It has a critical extension, by its object identifier, which verifiers need not know (RFC 5280, section 4.2).
    Critical(String),
    /// It begins later than now by the clock of the slowest node.
    NotYet(Timestamp),
    /// It has ended.
    Ended(Timestamp),
    /// It ends so soon that it would be due again.
    DueAgain(Timestamp),
    /// It ends after its CA, from whose end on nobody accepts it.
    OutlivesCa(Timestamp, Timestamp),
    /// The certificate that it is to follow has changed since it was asked for, or is not due any more.
    Changed,
    /// It is due by now, and was not asked for.
    NotRequested(TrustDomain),
}

/// What has changed between the plan for which certificates were asked for and the one that would be carried out.
pub(super) fn plan(asked: &Plan, requests: &[Request], fresh: &Plan, old: &PkiSet) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for request in requests {
        let order = |plan: &Plan| plan.leaves.iter().find(|order| order.id == request.leaf).cloned();
        if order(asked) != order(fresh) {
            complaints.push(Complaint { about: request.leaf.to_string(), unfit: Unfit::Changed });
        }
    }
    for order in &fresh.leaves {
        let signs = matches!(old.issuer(order.domain), Ok(Some(_)));
        if !signs && !requests.iter().any(|request| request.leaf == order.id) {
            let unfit = Unfit::NotRequested(order.domain);
            complaints.push(Complaint { about: order.id.to_string(), unfit });
        }
    }
    complaints
}

/// Everything that is wrong with what was given for a request, `now` being the time on the slowest node.
pub(super) fn given(asked: &Request, given: Option<&Given>, now: Timestamp) -> Vec<Complaint> {
    let missing = || Unfit::Missing(asked.name());
    let (about, found) = match given {
        None => (asked.leaf.to_string(), vec![missing()]),
        Some(Given { from, certificates: Err(why) }) => (from.clone(), vec![Unfit::Unreadable(why.clone())]),
        Some(Given { from, certificates: Ok(certificates) }) => match certificates.split_first() {
            None => (from.clone(), vec![missing()]),
            Some((leaf, behind)) => {
                let mut found = certificate(asked, leaf, now);
                // Some signers add their own certificate, which says nothing new.
                let others = behind.iter().filter(|other| **other != asked.authority).count();
                found.extend((others > 0).then_some(Unfit::Chain(others)));
                (from.clone(), found)
            }
        },
    };
    found.into_iter().map(|unfit| Complaint { about: about.clone(), unfit }).collect()
}

fn certificate(asked: &Request, leaf: &Certificate, now: Timestamp) -> Vec<Unfit> {
    let mut found = Vec::new();
    let (csr, ca) = (&asked.csr, &asked.authority);
    let template = csr.template();
    if leaf.public_key() != csr.public_key() {
        found.push(Unfit::OtherKey(asked.name()));
    }
    if let Err(error) = leaf.signed_by(ca) {
        let (name, fingerprint) = (ca.subject().to_string(), ca.fingerprint().to_string());
        found.push(Unfit::OtherCa(asked.domain, name, fingerprint, error.to_string()));
    }
    // As text: signers may encode strings in another way, and Kubernetes compares what they say.
    let (is, wanted) = (leaf.subject().to_string(), csr.subject().to_string());
    if is != wanted {
        found.push(Unfit::Subject(is, wanted));
    }
    found.extend(difference("names", &template.sans(), leaf.sans()));
    let purposes = template.extended_key_usage().unwrap_or_default();
    found.extend(difference("extended key usages", &purposes, leaf.extended_key_usage().unwrap_or_default()));
    let usages: Vec<_> = template.key_usage().into_iter().flatten().collect();
    let has: Vec<_> = leaf.key_usage().into_iter().flatten().copied().collect();
    found.extend(difference("key usages", &usages, &has));
    found.extend(leaf.is_ca().then_some(Unfit::IsCa));
    let critical = leaf.extensions().iter().filter(|extension| extension.is_critical());
    let unknown = critical.map(kubecert_pki::Extension::oid).filter(|oid| !ASKED_FOR.contains(&oid.as_str()));
    found.extend(unknown.chain(leaf.malformed_extensions().iter().cloned()).map(Unfit::Critical));
    found.extend(validity(leaf, ca, now));
    found
}

fn validity(leaf: &Certificate, ca: &Certificate, now: Timestamp) -> Option<Unfit> {
    let (from, until) = (leaf.not_before(), leaf.not_after());
    if until <= now {
        return Some(Unfit::Ended(until));
    }
    if from > now {
        return Some(Unfit::NotYet(from));
    }
    if until > ca.not_after() {
        return Some(Unfit::OutlivesCa(until, ca.not_after()));
    }
    Limits::default().is_due(from, until, now).then_some(Unfit::DueAgain(until))
}

/// What lacks and what is too much, whatever the order.
fn difference<T: Ord + fmt::Display>(what: &'static str, wanted: &[T], there: &[T]) -> Option<Unfit> {
    let (wanted, there): (BTreeSet<_>, BTreeSet<_>) = (wanted.iter().collect(), there.iter().collect());
    let listed = |items: Vec<&&T>| items.into_iter().map(ToString::to_string).collect::<Vec<_>>();
    let lacking = listed(wanted.difference(&there).collect());
    let surplus = listed(there.difference(&wanted).collect());
    (!lacking.is_empty() || !surplus.is_empty()).then_some(Unfit::Differs(what, lacking, surplus))
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.about, self.unfit)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AGAIN: &str = "sign the request as it is, with the extensions that it asks for";
        let day = |time: &Timestamp| time.strftime("%F %H:%M UTC").to_string();
        match self {
            Self::Missing(name) => {
                write!(f, "is missing; have {name}.csr signed, and put the certificate beside it as {name}.crt")
            }
            Self::Unreadable(why) => {
                write!(f, "cannot be read ({why}); write the certificate into it as PEM, and nothing else")
            }
            Self::Chain(count) => write!(
                f,
                "holds {count} more besides the leaf; leave the leaf alone, which the CA in force has to sign itself, without an intermediate CA"
            ),
            Self::OtherKey(name) => write!(
                f,
                "is for another key; sign {name}.csr as the latest --csr-out wrote it, and no earlier one"
            ),
            Self::OtherCa(domain, name, fingerprint, why) => write!(
                f,
                "is not signed by the {domain} CA in force, {name} (sha256 {}…): {why}; sign with the key of that very CA",
                &fingerprint[..fingerprint.len().min(16)]
            ),
            Self::Subject(is, wanted) => {
                write!(f, "is for {is}, and was asked for {wanted}; keep the request's subject and its order")
            }
            Self::Differs(what, lacking, surplus) => {
                write!(f, "has other {what} than were asked for")?;
                let list = |f: &mut fmt::Formatter<'_>, how: &str, items: &[String]| match items {
                    [] => Ok(()),
                    items => write!(f, ", {how} {}", items.join(", ")),
                };
                list(f, "without", lacking)?;
                list(f, "with", surplus)?;
                write!(f, "; {AGAIN}")
            }
            Self::IsCa => write!(f, "is a CA's, which may sign others; {AGAIN}"),
            Self::Critical(oid) => write!(
                f,
                "has extension {oid}, which is critical or malformed and refused by verifiers that do not know it; sign without it"
            ),
            Self::NotYet(from) => write!(
                f,
                "begins on {}, later than the clock of the slowest node; wait until then, or let it begin {} minutes earlier",
                day(from),
                BACK_DATE.as_mins()
            ),
            Self::Ended(until) => write!(f, "has ended on {}; sign the request again", day(until)),
            Self::DueAgain(until) => write!(
                f,
                "ends on {}, so soon that it would be due again; let it last at least twice the {} days before its end",
                day(until),
                Limits::RENEW_WITHIN_DAYS
            ),
            Self::OutlivesCa(until, ca) => write!(
                f,
                "ends on {}, after its CA, which ends on {}; let it end no later than that",
                day(until),
                day(ca)
            ),
            Self::Changed => f.write_str(
                "is not what it was when it was asked for, or not due any more; ask again with --csr-out, which keeps the keys of the others, so that what is signed for them stays good",
            ),
            Self::NotRequested(domain) => write!(
                f,
                "is due by now, is signed by the {domain} CA and was not asked for; ask again with --csr-out, which keeps the keys of the others, so that what is signed for them stays good"
            ),
        }
    }
}
