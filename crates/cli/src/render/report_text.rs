//! A run's report for a terminal or a mail.

use kubecert_core::report::{Report, StepReport};

use super::verdict::{Mood, Verdict};
use crate::human::numbers::{grouped, short_fingerprint};
use crate::human::paint::Paint;
use crate::human::plural::{self, count};
use crate::human::time;

/// Steps that are listed as the slowest.
const SLOWEST: usize = 8;

/// The report as text, each line ended.
pub(crate) fn render(report: &Report, paint: Paint) -> String {
    let mut text = Text { lines: Vec::new(), paint };
    text.verdict(report);
    text.api(report);
    text.phases(report);
    text.slowest(report);
    text.credentials(report);
    text.verification(report);
    text.notices(report);
    text.provenance(report);
    text.lines.join("\n") + "\n"
}

struct Text {
    lines: Vec<String>,
    paint: Paint,
}

impl Text {
    fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn heading(&mut self, heading: &str) {
        self.line("");
        self.line(self.paint.bold(heading));
    }

    fn verdict(&mut self, report: &Report) {
        let verdict = Verdict::on(report);
        let headline = match verdict.mood {
            Mood::Good => self.paint.green(&verdict.headline),
            Mood::Attention => self.paint.yellow(&verdict.headline),
        };
        self.line(headline);
        self.line(verdict.done);
        if !verdict.seen.is_empty() {
            self.line(verdict.seen);
        }
    }

    fn api(&mut self, report: &Report) {
        let api = &report.api;
        if api.requests == 0 {
            return;
        }
        self.heading("API, as the run's own clients saw it");
        let median =
            format!("median {}, 99th percentile {}", time::millis(api.median_ms), time::millis(api.p99_ms));
        self.line(format!(
            "  {:<10} {:>8} requests  {:>6} failed   {median}",
            "all",
            grouped(api.requests),
            api.failed
        ));
        for client in &api.clients {
            self.line(format!(
                "  {:<10} {:>8} requests  {:>6} failed   longest gap {}",
                client.client,
                grouped(client.requests),
                client.failed,
                time::millis(client.longest_gap_ms),
            ));
        }
    }

    fn phases(&mut self, report: &Report) {
        if report.phases.is_empty() {
            return;
        }
        self.heading("Phases");
        if let Some(before) = super::before_phases(report) {
            let (start, took) = (time::seconds(0.0), time::seconds(before));
            self.line(format!(
                "  {:<10} from {start:>12}  took {took:>12}  looking and making keys",
                "before"
            ));
        }
        for phase in &report.phases {
            self.line(format!(
                "  {:<10} from {:>12}  took {:>12}  barrier {:>9}  {:>10}",
                phase.name.to_string(),
                time::seconds(phase.start_s),
                time::seconds(phase.wall_s),
                time::seconds(phase.barrier_s),
                count(phase.steps, plural::STEP),
            ));
        }
    }

    fn slowest(&mut self, report: &Report) {
        if report.steps.is_empty() {
            return;
        }
        let mut steps: Vec<&StepReport> = report.steps.iter().collect();
        steps.sort_by(|one, other| other.wall_s.total_cmp(&one.wall_s));
        self.heading("Slowest steps");
        for step in steps.into_iter().take(SLOWEST) {
            let tries = match step.attempts {
                0 | 1 => String::new(),
                attempts => format!(" ({})", count(attempts as usize, plural::TIME)),
            };
            let took = time::seconds(step.wall_s);
            self.line(format!(
                "  {took:>9}  {:<10} {}: {}{tries}",
                step.phase.to_string(),
                step.target,
                step.title
            ));
        }
    }

    fn credentials(&mut self, report: &Report) {
        let credentials = &report.credentials;
        self.heading(&format!(
            "Credentials: {} replaced, {} kept",
            credentials.replaced,
            credentials.kept.len()
        ));
        let width = credentials.items.iter().map(|item| item.id.chars().count()).max().unwrap_or(0).min(44);
        for item in &credentials.items {
            let before = item.before.as_deref().map_or_else(|| "none".to_owned(), short_fingerprint);
            let (after, end) = (short_fingerprint(&item.after), time::date(item.not_after));
            self.line(format!("  {:<width$}  {before:>12} -> {after}  ends {end}", item.id));
        }
        for kept in &credentials.kept {
            self.line(format!("  kept {}: {}", kept.id, kept.why));
        }
    }

    fn verification(&mut self, report: &Report) {
        if report.verification.is_empty() {
            return;
        }
        self.heading("Verification");
        for result in &report.verification {
            let mark = if result.ok { self.paint.green("ok     ") } else { self.paint.red("WRONG  ") };
            self.line(format!("  {mark} {}: {}", result.what, result.found));
        }
    }

    fn notices(&mut self, report: &Report) {
        if report.notices.is_empty() {
            return;
        }
        self.heading("Notices");
        for notice in &report.notices {
            self.line(format!("  - {notice}"));
        }
    }

    fn provenance(&mut self, report: &Report) {
        self.line("");
        let line = format!(
            "Run {} of {} ({}), from {} to {}",
            report.run,
            report.why,
            report.strategy,
            time::second(report.started),
            time::second(report.finished),
        );
        self.line(self.paint.dim(&line));
    }
}

#[cfg(test)]
mod tests {
    use kubecert_core::event::RunOutcome;

    use super::*;
    use crate::render::sample;

    #[test]
    fn a_finished_run() {
        insta::assert_snapshot!(render(&sample::report(), Paint::PLAIN), @"
        1 request to the API failed; the longest gap was 872 ms.
        14 credentials of cluster lab were replaced in 1 min 50 s, the certificate authority among them.
        Of 2,143 requests to the API, 1 failed for want of an answer in time (3 needed a retry); the longest time between two answers was 872 ms.

        API, as the run's own clients saw it
          all           2,143 requests       1 failed   median 41 ms, 99th percentile 612 ms
          old           1,071 requests       1 failed   longest gap 872 ms
          updated       1,072 requests       0 failed   longest gap 640 ms

        Phases
          before     from        0.0 s  took        9.1 s  looking and making keys
          prepare    from        9.1 s  took        2.3 s  barrier     0.4 s    11 steps
          introduce  from       11.5 s  took       46.6 s  barrier     0.4 s    28 steps
          switch     from       58.2 s  took       19.6 s  barrier     0.4 s     6 steps
          drop       from   1 min 18 s  took       29.1 s  barrier     0.4 s    15 steps
          finish     from   1 min 47 s  took        3.2 s  barrier     0.4 s     6 steps

        Slowest steps
             13.4 s  switch     API: re-create pod default/lonely
             12.8 s  switch     API: roll daemonset kube-system/kube-proxy (2 times)
             10.8 s  switch     API: roll deployment default/prober (2 times)
              8.8 s  switch     API: roll statefulset default/prober (2 times)
              5.8 s  introduce  k8s-master-24569318-0: restart kube-apiserver
              5.8 s  introduce  k8s-master-24569318-1: restart kube-apiserver
              5.8 s  introduce  k8s-master-24569318-2: restart kube-apiserver
              5.1 s  drop       k8s-master-24569318-0: restart kube-apiserver without the old CA

        Credentials: 14 replaced, 1 kept
          ca                                       9e3779b97f4a -> 538454127b09  ends 2056-11-13
          apiserver                                cc623af87833 -> 81af155173f2  ends 2056-11-13
          client                                   fa8cfc37711c -> afd9d6906cdb  ends 2056-11-13
          kubectlClient                            28b7bd766a05 -> de0497cf65c3  ends 2056-11-13
          etcdserver                               56e27eb562ed -> 0c2f590e5eac  ends 2056-11-13
          etcdclient                               850d3ff45bd6 -> 3a5a1a4d5795  ends 2056-11-13
          etcdpeer0                                b338013354bf -> 6884db8c507e  ends 2056-11-13
          etcdpeer1                                e162c2724da8 -> 96af9ccb4967  ends 2056-11-13
          etcdpeer2                                0f8d83b14691 -> c4da5e0a4250  ends 2056-11-13
          front-proxy-ca                           3db844f03f7a -> f3051f493b39  ends 2056-11-13
          front-proxy-client                       6be3062f3862 -> 212fe0883421  ends 2056-11-13
          kubelet-client/k8s-master-24569318-0             none -> 4f5aa1c72d0a  ends 2056-11-13
          kubelet-server/k8s-master-24569318-0     c83888ad2a34 -> 7d85630625f3  ends 2056-11-13
          kubelet-client/k8s-linuxpool-24569318-0          none -> abb024451edc  ends 2056-11-13
          kept secret monitoring/webhook-tls: it is signed by a CA of its own, which the cluster's components do not use

        Verification
          ok      what API servers present: 3 of 3 present a certificate of the new CA
          ok      what etcd members present: 6 of 6 ports present a certificate of the new CA
          ok      what kubelets present: 5 of 5 present a certificate of the new CA
          ok      a client of the old CA: refused by 3 of 3 API servers
          ok      nodes: 5 of 5 Ready
          ok      aggregated APIs: 1 of 1 Available

        Notices
          - Pod default/lonely has no controller; it was deleted and created again, and was away for 13 s.
          - Tokens that were issued before the run stay valid until their pods have been renewed.

        Run 01KAM3V7Q2Z9D4T8XEXAMPLE00 of replace-ca (cross-signed), from 2026-11-21 20:00:00 UTC to 2026-11-21 20:01:50 UTC
        ");
    }

    #[test]
    fn the_headline_never_promises_what_was_not_measured() {
        let mut report = sample::report();
        let headline =
            |report: &Report| render(report, Paint::PLAIN).lines().next().unwrap_or_default().to_owned();
        assert_eq!(headline(&report), "1 request to the API failed; the longest gap was 872 ms.");
        report.api.failed = 0;
        assert_eq!(headline(&report), "The API answered throughout.");
        report.api.longest_gap_ms = 1776;
        assert_eq!(headline(&report), "The API answered throughout, once after 1.8 s.");
        report.api.requests = 0;
        assert_eq!(headline(&report), "Finished; whether the API answered meanwhile was not measured.");
        report.verification[0].ok = false;
        assert_eq!(headline(&report), "The verification found 1 fault.");
        report.outcome = RunOutcome::Stopped { reason: "etcd has no leader".to_owned() };
        assert_eq!(headline(&report), "The run stopped at a safe point.");
    }
}
