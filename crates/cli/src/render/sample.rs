//! A report as a real run leaves it: three control planes, two agents, 110 seconds.

use jiff::{SignedDuration, Timestamp};
use kubecert_core::event::RunOutcome;
use kubecert_core::intent::{Scope, Strategy, Why};
use kubecert_core::model::{ClusterName, RunId};
use kubecert_core::plan::{Kept, PhaseName};
use kubecert_core::report::{
    ApiReport, Bucket, ClientReport, CredentialReport, PhaseReport, Replaced, Report, StepReport, TrustEdge,
    TrustStage, Verified,
};

const MASTERS: [&str; 3] = ["k8s-master-24569318-0", "k8s-master-24569318-1", "k8s-master-24569318-2"];
const AGENTS: [&str; 2] = ["k8s-linuxpool-24569318-0", "k8s-linuxpool-24569318-1"];

/// The report.
pub(crate) fn report() -> Report {
    let started: Timestamp = "2026-11-21T20:00:00Z".parse().unwrap();
    let steps = steps();
    Report {
        schema: Report::SCHEMA,
        run: RunId::from("01KAM3V7Q2Z9D4T8XEXAMPLE00"),
        cluster: ClusterName::from("lab"),
        result: "finished".to_owned(),
        outcome: RunOutcome::Finished,
        why: Why::ReplaceCa,
        strategy: Strategy::CrossSigned,
        scope: Scope::All,
        started,
        finished: started + SignedDuration::from_millis(110_400),
        wall_s: 110.4,
        resumed: 0,
        api: api(),
        phases: phases(&steps),
        steps,
        credentials: credentials(started),
        trust: trust(),
        verification: verification(),
        notices: vec![
            "Pod default/lonely has no controller; it was deleted and created again, and was away for 13 s."
                .to_owned(),
            "Tokens that were issued before the run stay valid until their pods have been renewed."
                .to_owned(),
        ],
    }
}

fn steps() -> Vec<StepReport> {
    let mut steps = Vec::new();
    let mut push = |phase, target: &str, title: &str, start_s: f64, wall_s: f64| {
        let (id, attempts) = (steps.len() as u32 + 1, if title.contains("roll") { 2 } else { 1 });
        let (target, title) = (target.to_owned(), title.to_owned());
        let evidence = "the new process started after its files had changed".to_owned();
        steps.push(StepReport { id, phase, target, title, start_s, wall_s, attempts, evidence });
    };
    for node in MASTERS.iter().chain(&AGENTS) {
        push(PhaseName::Prepare, node, "back up originals", 9.2, 0.6);
        push(PhaseName::Prepare, node, "stage new files", 9.9, 1.1);
    }
    push(PhaseName::Prepare, "etcd", "take a snapshot of the members' state", 9.2, 0.4);
    let mut at = 11.6;
    for master in MASTERS {
        for (title, wall) in [
            ("stop the health monitors", 0.3),
            ("divert new connections to a neighbour", 0.4),
            ("put etcd's and the API server's files in place", 0.5),
            ("restart etcd", 3.4),
            ("restart kube-apiserver", 5.8),
            ("restart kube-controller-manager and kube-scheduler", 2.2),
            ("take the diversion away", 0.3),
        ] {
            push(PhaseName::Introduce, master, title, at, wall);
            at += wall + 0.1;
        }
        push(PhaseName::Introduce, master, "restart kubelet", at - 2.6, 3.1);
        at += 0.6;
    }
    for agent in AGENTS {
        push(PhaseName::Introduce, agent, "put the kubelet's files in place", 12.0, 0.4);
        push(PhaseName::Introduce, agent, "restart kubelet", 12.5, 4.9);
    }
    push(PhaseName::Switch, "API", "publish both roots in every namespace", 58.3, 3.2);
    push(PhaseName::Switch, "API", "renew token Secret default/legacy", 61.6, 0.7);
    for (index, workload) in
        ["daemonset kube-system/kube-proxy", "deployment default/prober", "statefulset default/prober"]
            .into_iter()
            .enumerate()
    {
        push(
            PhaseName::Switch,
            "API",
            &format!("roll {workload}"),
            62.4 + 0.1 * index as f64,
            12.8 - 2.0 * index as f64,
        );
    }
    push(PhaseName::Switch, "API", "re-create pod default/lonely", 62.7, 13.4);
    at = 78.0;
    for master in MASTERS {
        for (title, wall) in [
            ("divert new connections to a neighbour", 0.4),
            ("restart kube-apiserver without the old CA", 5.1),
            ("restart etcd without the old CA", 2.1),
            ("take the diversion away", 0.3),
        ] {
            push(PhaseName::Drop, master, title, at, wall);
            at += wall + 0.1;
        }
        at += 0.3;
    }
    for agent in AGENTS {
        push(PhaseName::Drop, agent, "restart kubelet without the old CA", 79.0, 4.2);
    }
    push(PhaseName::Drop, "API", "rebuild extension-apiserver-authentication", 104.2, 0.9);
    for node in MASTERS.iter().chain(&AGENTS) {
        push(PhaseName::Finish, node, "remove staged files and backups", 107.2, 0.7);
    }
    push(PhaseName::Finish, "here", "write apimodel.json and kubeconfigs", 108.1, 0.2);
    steps
}

fn phases(steps: &[StepReport]) -> Vec<PhaseReport> {
    let spans = [
        (PhaseName::Prepare, 9.1, 2.3),
        (PhaseName::Introduce, 11.5, 46.6),
        (PhaseName::Switch, 58.2, 19.6),
        (PhaseName::Drop, 77.9, 29.1),
        (PhaseName::Finish, 107.1, 3.2),
    ];
    let phase = |(name, start_s, wall_s)| PhaseReport {
        name,
        start_s,
        wall_s,
        barrier_s: 0.4,
        steps: steps.iter().filter(|step| step.phase == name).count(),
        evidence: vec!["every etcd member is healthy and caught up".to_owned()],
    };
    spans.map(phase).to_vec()
}

fn api() -> ApiReport {
    let bucket = |second: u64| {
        let busy = matches!(second, 19..=24 | 33..=38 | 47..=52 | 80..=84 | 88..=92 | 97..=100);
        let slowest = if busy { 180 + (second * 97 % 640) as u32 } else { 30 + (second * 37 % 45) as u32 };
        let failed = u32::from(second == 36);
        Bucket { second, ok: if busy { 17 } else { 20 } - failed, failed, slowest_ms: slowest }
    };
    let client = |client: &str, requests, failed, gap| ClientReport {
        client: client.to_owned(),
        requests,
        failed,
        longest_gap_ms: gap,
    };
    ApiReport {
        requests: 2143,
        failed: 1,
        timed_out: 1,
        failed_first_try: 3,
        longest_gap_ms: 872,
        median_ms: 41,
        p99_ms: 612,
        clients: vec![client("old", 1071, 1, 872), client("updated", 1072, 0, 640)],
        timeline: (0..110).map(bucket).collect(),
    }
}

fn credentials(started: Timestamp) -> CredentialReport {
    let names = [
        ("ca", "CN=ca 2026-11-21"),
        ("apiserver", "CN=apiserver"),
        ("client", "CN=client,O=system:masters"),
        ("kubectlClient", "CN=kubectlClient,O=system:masters"),
        ("etcdserver", "CN=etcdserver"),
        ("etcdclient", "CN=etcdclient"),
        ("etcdpeer0", "CN=etcdpeer0"),
        ("etcdpeer1", "CN=etcdpeer1"),
        ("etcdpeer2", "CN=etcdpeer2"),
        ("front-proxy-ca", "CN=proxyClientCA 2026-11-21"),
        ("front-proxy-client", "CN=aggregator,O=system:masters"),
        ("kubelet-client/k8s-master-24569318-0", "CN=system:node:k8s-master-24569318-0,O=system:nodes"),
        ("kubelet-server/k8s-master-24569318-0", "CN=k8s-master-24569318-0"),
        ("kubelet-client/k8s-linuxpool-24569318-0", "CN=system:node:k8s-linuxpool-24569318-0,O=system:nodes"),
    ];
    let fingerprint = |seed: u64| {
        let part = |index: u64| format!("{:016x}", (seed + index).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..4).map(part).collect::<String>()
    };
    let replaced = |(index, (id, subject)): (usize, &(&str, &str))| Replaced {
        id: (*id).to_owned(),
        before: (!id.starts_with("kubelet-client")).then(|| fingerprint(index as u64 * 10 + 1)),
        after: fingerprint(index as u64 * 10 + 7),
        subject: (*subject).to_owned(),
        not_after: started + SignedDuration::from_hours(24 * 365 * 30),
    };
    let items: Vec<Replaced> = names.iter().enumerate().map(replaced).collect();
    let kept = Kept {
        id: "secret monitoring/webhook-tls".to_owned(),
        why: "it is signed by a CA of its own, which the cluster's components do not use".to_owned(),
    };
    CredentialReport { replaced: items.len(), items, kept: vec![kept] }
}

fn trust() -> Vec<TrustStage> {
    let pairs = [
        ("administrators", "API servers", true),
        ("controller managers", "API servers", true),
        ("schedulers", "API servers", true),
        ("kubelets", "API servers", true),
        ("kube-proxies", "API servers", true),
        ("pods", "API servers", false),
        ("API servers", "etcd", true),
        ("API servers", "kubelets", true),
        ("API servers", "aggregated APIs", true),
        ("etcd", "etcd", true),
    ];
    let stage = |stage: &str, trusts: &str, presents: &str| TrustStage {
        stage: stage.to_owned(),
        edges: pairs
            .iter()
            .map(|&(client, server, mutual)| TrustEdge {
                client: client.to_owned(),
                server: server.to_owned(),
                client_trusts: trusts.to_owned(),
                server_presents: presents.to_owned(),
                server_trusts: if mutual { trusts.to_owned() } else { String::new() },
                client_presents: if mutual { presents.to_owned() } else { String::new() },
            })
            .collect(),
    };
    let mut during = stage("during", "old+new", "new+cross");
    // Administrators get their new files last.
    during.edges[0].client_trusts = "old".to_owned();
    during.edges[0].client_presents = "old".to_owned();
    vec![stage("before", "old", "old"), during, stage("after", "new", "new")]
}

fn verification() -> Vec<Verified> {
    [
        ("what API servers present", "3 of 3 present a certificate of the new CA"),
        ("what etcd members present", "6 of 6 ports present a certificate of the new CA"),
        ("what kubelets present", "5 of 5 present a certificate of the new CA"),
        ("a client of the old CA", "refused by 3 of 3 API servers"),
        ("nodes", "5 of 5 Ready"),
        ("aggregated APIs", "1 of 1 Available"),
    ]
    .map(|(what, found)| Verified { what: what.to_owned(), ok: true, found: found.to_owned() })
    .to_vec()
}
