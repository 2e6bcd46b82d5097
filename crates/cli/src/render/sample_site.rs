//! A site for tests of what is shown.

use jiff::{SignedDuration, Timestamp};
use kubecert_core::assess::{
    self, Assessment, Class, Credential, Diagnosis, Evidence, Material, Outage, Profile, Shutdown, Stranger,
};

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn credentials() -> Vec<Credential> {
    let one = |class, cluster: Option<&str>, holder: &str, place: &str, material, ends| Credential {
        class,
        cluster: cluster.map(str::to_owned),
        holder: holder.to_owned(),
        place: place.to_owned(),
        material,
        evidence: Evidence::Seen { not_before: now() - hours(2_000), not_after: now() + hours(ends) },
        ephemeral: false,
    };
    let cluster = Some("holidays");
    let mut unread = one(Class::NodeAgent, None, "host-2", "host-2.yaml", Material::Token, 0);
    unread.evidence = Evidence::Unreadable { why: "it is empty".to_owned() };
    vec![
        one(Class::CloudAgent, None, "ca-1", "ca.example:55000", Material::Certificate, 4_000),
        one(Class::NodeAgent, None, "host-1", "host-1.yaml", Material::Token, 900),
        unread,
        one(
            Class::ControlPlane,
            cluster,
            "control-1",
            "/etc/kubernetes/pki/apiserver.crt",
            Material::Certificate,
            -30,
        ),
        one(Class::KmsPlugin, cluster, "control-1", "/opt/wssd/k8s/cloudlogin.yaml", Material::Token, -2),
        one(Class::KmsPlugin, cluster, "control-1", "cloudconfig", Material::Certificate, 200),
        one(Class::LoadBalancerAgent, cluster, "lb-1", "lb-1:46000", Material::Certificate, 700),
    ]
}

/// Some of it ended, some could not be read.
pub(crate) fn assessment() -> Assessment {
    let outage = Outage { off_for: hours(3 * 24), since_update: Some(hours(40 * 24)) };
    assess::assess(Profile::Documented, outage, &credentials(), now())
}

/// Nothing was looked at.
pub(crate) fn policy_alone() -> Assessment {
    let outage = Outage { off_for: hours(35 * 24), since_update: Some(hours(100 * 24)) };
    assess::assess(Profile::Documented, outage, &[], now())
}

/// A planned outage of 20 days.
pub(crate) fn shutdown() -> Shutdown {
    assess::shutdown(&credentials(), now(), hours(20 * 24))
}

/// What is wrong with it.
pub(crate) fn troubles() -> Vec<Diagnosis> {
    let stranger =
        Stranger { client: "kvactl (cloudconfig)".to_owned(), server: "ca.example:55000".to_owned() };
    assess::doctor(&assess::measured(&credentials(), now()), &[stranger], &[], now())
}
