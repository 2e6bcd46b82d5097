//! `assess` and `shutdown-check` for people.

use comfy_table::ContentArrangement;
use comfy_table::presets::NOTHING;
use jiff::SignedDuration;
use kubecert_core::assess::{Assessment, Diagnosis, LayerAssessment, Rule, Shutdown, Verdict};

use crate::human::paint::Paint;
use crate::human::plural::{self, count};
use crate::human::time;

/// Columns where the output is no terminal.
const WIDTH: u16 = 140;

/// Both verdicts of every layer, what is wrong in detail, and what to do in which order.
pub(crate) fn assessment(site: Option<&str>, found: &Assessment, paint: Paint) -> String {
    let name = site.map_or_else(|| "Any site".to_owned(), |site| format!("Site {site}"));
    let off = match found.outage.off_for {
        SignedDuration::ZERO => "was not off".to_owned(),
        off => format!("off for {}", span(off)),
    };
    let update = found.outage.since_update.map_or_else(
        || "last update not told".to_owned(),
        |since| format!("last update {} ago", span(since)),
    );
    let heading = format!("{name}, {off}, {update}, by profile {}", found.profile);
    let mut text = format!("{}\n", paint.bold(&heading));
    let rows = found.layers.iter().map(|layer| {
        let measured = match layer.looked_at {
            0 => "not looked at".to_owned(),
            _ => verdict(layer.measured, layer.by_measurement.rule),
        };
        let why = if layer.looked_at == 0 { &layer.by_policy.why } else { &layer.by_measurement.why };
        [layer.layer.to_string(), verdict(layer.policy, layer.by_policy.rule), measured, why.clone()]
    });
    table(&mut text, ["LAYER", "BY THE DOCUMENTS", "MEASURED", "WHY"], rows);
    let bad = found.credentials.iter().filter(|finding| finding.judgement.verdict != Verdict::NotImpacted);
    for (number, finding) in bad.enumerate() {
        if number == 0 {
            text.push_str(&format!("\n{}\n", paint.bold("What needs attention")));
        }
        let latent = if finding.latent_until_restart { " It works until its holder restarts." } else { "" };
        let word = paint_verdict(finding.judgement.verdict, paint);
        text.push_str(&format!("  {word} {}: {}.{latent}\n", finding.name, finding.judgement.why));
        text.push_str(&format!("  {:<8} {}\n", "", paint.dim(&finding.judgement.action)));
    }
    for sentence in found.layers.iter().filter_map(|layer| layer.disagreement.as_ref()) {
        text.push_str(&format!("\n{sentence}\n"));
    }
    let to_do: Vec<&LayerAssessment> =
        found.layers.iter().filter(|layer| decided(layer) != Verdict::NotImpacted).collect();
    if to_do.is_empty() {
        text.push_str(&format!("\n{}\n", paint.green("Nothing needs attention.")));
        return text;
    }
    text.push_str(&format!("\n{}\n", paint.bold("To do, in this order")));
    for (number, layer) in to_do.into_iter().enumerate() {
        let action =
            if layer.looked_at == 0 { &layer.by_policy.action } else { &layer.by_measurement.action };
        text.push_str(&format!("  {}. {}: {action}\n", number + 1, layer.layer));
    }
    text
}

/// For how long a site may be off, and what to renew before.
pub(crate) fn shutdown(site: &str, found: &Shutdown, paint: Paint) -> String {
    let mut text =
        format!("{}\n", paint.bold(&format!("Site {site}, to be off for {}", span(found.planned))));
    let answer = match found.verdict {
        Verdict::NotImpacted => paint.green(&found.answer),
        Verdict::Unknown => paint.yellow(&found.answer),
        Verdict::Impacted => paint.red(&found.answer),
    };
    text.push_str(&format!("{answer}\n"));
    if !found.renew_first.is_empty() {
        text.push_str(&format!("\n{}\n", paint.bold("Renew before, in this order")));
    }
    for (number, due) in found.renew_first.iter().enumerate() {
        let end = format!("{}, {}", time::relative(found.at, due.not_after), time::minute(due.not_after));
        let ends = if due.not_after < found.at { "ended" } else { "ends" };
        text.push_str(&format!("  {}. {} {ends} {end} (rule {})\n", number + 1, due.name, due.rule));
    }
    if !found.unknown.is_empty() {
        text.push_str(&format!("\n{}\n", paint.bold("Not known")));
    }
    for unknown in &found.unknown {
        text.push_str(&format!("  {unknown}\n"));
    }
    text
}

/// The troubles of a site, each with what it looks like and the repair.
///
/// `looked_at` are how many credentials and Kubernetes APIs were.
pub(crate) fn doctor(site: &str, looked_at: (usize, usize), found: &[Diagnosis], paint: Paint) -> String {
    let credentials = count(looked_at.0, plural::CREDENTIAL);
    let heading = match looked_at.1 {
        0 => format!(
            "Site {site}, {credentials} looked at, and no Kubernetes API, since no kubeconfig is named"
        ),
        apis => format!("Site {site}, {credentials} and {} looked at", count(apis, plural::KUBERNETES_API)),
    };
    let mut text = format!("{}\n", paint.bold(&heading));
    if found.is_empty() {
        text.push_str(&format!("\n{}\n", paint.green("No known trouble was found.")));
    }
    for diagnosis in found {
        let latent = if diagnosis.latent_until_restart { " It shows at the next restart." } else { "" };
        text.push_str(&format!("\n{}\n", paint.red(diagnosis.id.id())));
        text.push_str(&format!("  seen as    {}\n", diagnosis.looks_like));
        text.push_str(&format!("  behind it  {}: {}.{latent}\n", diagnosis.credential, diagnosis.why));
        text.push_str(&format!("  repair     {}\n", diagnosis.repair));
    }
    text
}

fn decided(layer: &LayerAssessment) -> Verdict {
    if layer.looked_at == 0 { layer.policy } else { layer.measured }
}

fn verdict(verdict: Verdict, rule: Option<Rule>) -> String {
    rule.map_or_else(|| verdict.to_string(), |rule| format!("{verdict} ({rule})"))
}

fn paint_verdict(verdict: Verdict, paint: Paint) -> String {
    match verdict {
        Verdict::NotImpacted => paint.green("fine    "),
        Verdict::Unknown => paint.yellow("unknown "),
        Verdict::Impacted => paint.red("impacted"),
    }
}

/// A length of time in one unit.
fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    let (number, unit) = match seconds {
        s if s % 86_400 == 0 => (s / 86_400, "day"),
        s if s % 3_600 == 0 => (s / 3_600, "hour"),
        s if s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

fn table<const N: usize>(text: &mut String, header: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let width = console::Term::stdout().size_checked().map_or(WIDTH, |(_, columns)| columns);
    let mut table = comfy_table::Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header);
    table.add_rows(rows);
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample_site;

    #[test]
    fn both_verdicts_and_what_to_do() {
        insta::assert_snapshot!(assessment(Some("plant-7"), &sample_site::assessment(), Paint::PLAIN));
    }

    #[test]
    fn by_the_documents_alone() {
        insta::assert_snapshot!(assessment(None, &sample_site::policy_alone(), Paint::PLAIN));
    }

    #[test]
    fn troubles() {
        let found = sample_site::troubles();
        insta::assert_snapshot!(doctor("plant-7", (7, 2), &found, Paint::PLAIN));
        insta::assert_snapshot!(doctor("plant-7", (7, 0), &[], Paint::PLAIN));
    }

    #[test]
    fn a_shutdown() {
        insta::assert_snapshot!(shutdown("plant-7", &sample_site::shutdown(), Paint::PLAIN));
    }
}
