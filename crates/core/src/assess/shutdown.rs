//! For how long a site may be off, from now on, and what to renew before.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::credential::pairs;
use super::measured::measured;
use super::policy::told;
use super::{Class, Credential, Material, Pairs, Rule, Verdict};

/// Something to be renewed before a site is switched off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Due {
    /// How it is called.
    pub name: String,
    /// What it is for.
    pub class: Class,
    /// When it ends.
    pub not_after: Timestamp,
    /// Why it is due: it ends while the site is off, or has ended.
    pub rule: Rule,
}

/// Whether a site may be off for as long as is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shutdown {
    /// From when.
    pub at: Timestamp,
    /// For how long it is planned to be off.
    pub planned: SignedDuration,
    /// Whether something ends meanwhile; unknown where something could not be read.
    pub verdict: Verdict,
    /// For how long everything that was read lasts, from now on; `None` where nothing was.
    pub safe_for: Option<SignedDuration>,
    /// What ends meanwhile, in the order in which it is to be renewed.
    pub renew_first: Vec<Due>,
    /// What could not be read, so that nothing is promised for it.
    pub unknown: Vec<String>,
    /// The same in a sentence.
    pub answer: String,
}

/// Asks for how long a site may be off. That a holder could have a new credential by itself afterwards is not counted on:
/// for that its issuer must be there first.
pub fn shutdown(credentials: &[Credential], at: Timestamp, planned: SignedDuration) -> Shutdown {
    let planned = planned.max(SignedDuration::ZERO);
    let back = at.saturating_add(planned).unwrap_or(Timestamp::MAX);
    let pairs = pairs(credentials);
    let mut due: Vec<(&Credential, Due)> = Vec::new();
    let mut unknown = Vec::new();
    let mut lasts: Vec<Timestamp> = Vec::new();
    for (credential, finding) in credentials.iter().zip(measured(credentials, at)) {
        let Some(not_after) =
            credential.not_after().filter(|_| finding.judgement.verdict != Verdict::Unknown)
        else {
            unknown.push(format!("{}: {}", finding.name, finding.judgement.why));
            continue;
        };
        if credential.ephemeral && credential.material == Material::Certificate {
            if !has_token(&pairs, credential) {
                unknown.push(format!(
                    "{}: it is lost when its holder stops, and the token to have it again with was not looked at",
                    finding.name
                ));
            }
            continue;
        }
        lasts.extend(credential.last_good());
        if credential.has_ended(back) == Some(true) {
            let ended_already =
                finding.judgement.rule.filter(|_| finding.judgement.verdict == Verdict::Impacted);
            let rule = ended_already.unwrap_or(Rule::V13);
            due.push((credential, Due { name: finding.name, class: credential.class, not_after, rule }));
        }
    }
    // A certificate is had with a token, so that comes first.
    due.sort_by_key(|(credential, _)| {
        let certificate = credential.material == Material::Certificate;
        (credential.class.rank(), certificate && has_token(&pairs, credential), credential.not_after())
    });
    let safe_for = lasts.into_iter().min().map(|first| first.duration_since(at).max(SignedDuration::ZERO));
    let verdict = match (due.is_empty(), unknown.is_empty() && safe_for.is_some()) {
        (false, _) => Verdict::Impacted,
        (true, false) => Verdict::Unknown,
        (true, true) => Verdict::NotImpacted,
    };
    let renew_first: Vec<Due> = due.into_iter().map(|(_, due)| due).collect();
    let answer = answer(planned, verdict, safe_for, &renew_first, unknown.len());
    Shutdown { at, planned, verdict, safe_for, renew_first, unknown, answer }
}

fn has_token(pairs: &Pairs<'_>, credential: &Credential) -> bool {
    let own = pairs.get(&credential.key());
    own.is_some_and(|all| all.iter().any(|other| other.material == Material::Token))
}

fn answer(
    planned: SignedDuration,
    verdict: Verdict,
    safe_for: Option<SignedDuration>,
    renew_first: &[Due],
    unknown: usize,
) -> String {
    let planned = told(planned);
    let Some(safe_for) = safe_for else {
        return "Nothing that counts could be read, so nothing can be said.".to_owned();
    };
    let lasts = told(safe_for);
    match verdict {
        Verdict::NotImpacted => {
            format!("The site may be off for {planned}: everything lasts {lasts} from now on.")
        }
        Verdict::Unknown => format!(
            "What could be read lasts {lasts} from now on, but {unknown} could not be read: {planned} cannot be promised."
        ),
        Verdict::Impacted if safe_for.is_zero() => {
            "The site should not be switched off at all: some of its credentials have ended already."
                .to_owned()
        }
        Verdict::Impacted => format!(
            "The site may not be off for {planned}: {} of its credentials end before. As it is, {lasts} are safe.",
            renew_first.len()
        ),
    }
}
