//! `check` for people: a table of credentials, and what needs attention.

use comfy_table::ContentArrangement;
use comfy_table::presets::NOTHING;
use jiff::Timestamp;
use kubecert_core::inventory::Inventory;
use kubecert_engine::pending::Pending;
use serde::Serialize;

use super::check::{Check, Presented, Row};
use crate::errors::{CliError, Kind};
use crate::human::numbers::short_fingerprint;
use crate::human::paint::Paint;
use crate::human::plural::{self, count};
use crate::human::time;

/// Columns where the output is no terminal: wide enough for the paths of a real cluster.
const WIDTH: u16 = 140;

/// What `check` shows.
pub(crate) struct Table(Check);

impl Table {
    /// What the inventory says, as seen from `now`.
    pub(crate) fn of(inventory: &Inventory, now: Timestamp, within_days: u32) -> Self {
        Self(Check::of(inventory, now, within_days))
    }

    /// Whether anything needs attention.
    pub(crate) const fn has_findings(&self) -> bool {
        !self.0.findings.is_empty()
    }

    /// For people, as wide as the terminal, each line ended.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let width = console::Term::stdout().size_checked().map_or(WIDTH, |(_, columns)| columns);
        render(&self.0, width, paint)
    }

    /// For programs, with the last line ended.
    pub(crate) fn json(&self, pending: Option<&Pending>) -> Result<String, CliError> {
        /// The check, and the run that has not ended, if there is one.
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            check: &'a Check,
            pending_run: Option<&'a Pending>,
        }
        serde_json::to_string_pretty(&Whole { check: &self.0, pending_run: pending })
            .map(|json| json + "\n")
            .map_err(|error| CliError::because(Kind::Internal, "cannot write the result as JSON", error))
    }
}

/// The check as text in at most `width` columns, each line ended.
fn render(check: &Check, width: u16, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold(&heading(check)));
    let mut table = comfy_table::Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(["WHERE", "WHAT", "ISSUER", "FINGERPRINT", "ENDS", "IN MEMORY"]);
    for row in &check.credentials {
        table.add_row(cells(row));
    }
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    if check.findings.is_empty() {
        text.push_str(&format!("{}\n", paint.green("Nothing needs attention.")));
        return text;
    }
    let number = check.findings.len();
    let attention = format!("{} {} attention", count(number, plural::FINDING), plural::need(number));
    text.push_str(&format!("{}\n", paint.yellow(&attention)));
    for finding in &check.findings {
        text.push_str(&format!("  {:<10} {}\n", paint.red(finding.kind.word()), finding.text));
        if let Some(remedy) = &finding.remedy {
            text.push_str(&format!("  {:<10} {}\n", "", paint.dim(remedy)));
        }
    }
    text
}

fn heading(check: &Check) -> String {
    let rows = check.credentials.len();
    let taken = time::minute(check.taken);
    format!("Cluster {}: {}, looked at on {taken}", check.cluster, count(rows, plural::CREDENTIAL))
}

fn cells(row: &Row) -> [String; 6] {
    let presented = match row.presented {
        Presented::Yes => "presented",
        Presented::No => "another one",
        Presented::NotServed => "",
    };
    [
        plural::some(&row.places, 1),
        row.what.clone(),
        row.issuer.clone(),
        short_fingerprint(&row.fingerprint),
        format!("{}, {}", row.ends, time::date(row.not_after)),
        presented.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::check::sample;

    #[test]
    fn a_table_and_what_needs_attention() {
        let check = Check::of(&sample::inventory(), sample::now(), 30);
        insta::assert_snapshot!(render(&check, 132, Paint::PLAIN), @"
        Cluster lab: 6 credentials, looked at on 2026-11-21 20:00 UTC
         WHERE                    WHAT                                     ISSUER      FINGERPRINT   ENDS                     IN MEMORY
         apimodel                 ca                                       CN=ca       51c7a4f79b97  in 29 years, 2055-12-13
         k8s-master-0             /etc/kubernetes/certs/apiserver.crt      CN=ca       a28f49ef273f  in 29 years, 2055-12-13  presented
         k8s-master-0 and 1 more  /etc/kubernetes/certs/ca.crt             CN=ca       51c7a4f79b97  in 29 years, 2055-12-13
         k8s-master-0 and 1 more  /etc/kubernetes/certs/client.crt         CN=ca       450f92df5e6e  in 12 days, 2026-12-03
         k8s-master-0             /etc/kubernetes/certs/kubeletserver.crt  CN=kubelet  96c647c7f906  3 days ago, 2026-11-18
         k8s-master-1             /etc/kubernetes/certs/apiserver.crt      CN=ca       f347fdd7c2d6  in 29 years, 2055-12-13  another one

        5 findings need attention
          expired    /etc/kubernetes/certs/kubeletserver.crt on k8s-master-0 ended 3 days ago
          ends soon  /etc/kubernetes/certs/client.crt on k8s-master-0 and k8s-master-1 ends in 12 days
          differs    kube-apiserver on k8s-master-1 presents a certificate that is in no file on the node
                     Its process has not read the present files; it needs a restart.
          unreadable node k8s-linuxpool-0 could not be read: connection refused
                     Nothing is known about its credentials until it can be.
          unreadable the Kubernetes API could not be read: certificate has expired
                     Nothing is known about its credentials until it can be.
        ");
    }

    #[test]
    fn eighty_columns_are_enough() {
        let check = Check::of(&sample::inventory(), sample::now(), 30);
        let text = render(&check, 80, Paint::PLAIN);
        let table = text.lines().skip(1).take_while(|line| !line.is_empty());
        assert!(table.clone().all(|line| line.chars().count() <= 80), "{text}");
    }
}
