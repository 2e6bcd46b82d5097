use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_795_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn one(class: Class, material: Material, ends: i64) -> Credential {
    Credential {
        class,
        cluster: (class.layer() != Layer::Infrastructure).then(|| "holidays".to_owned()),
        holder: "somebody".to_owned(),
        place: "somewhere".to_owned(),
        material,
        evidence: Evidence::Seen { not_before: at(-400 * 86_400), not_after: at(ends) },
        ephemeral: false,
    }
}

fn verdict(profile: Profile, off_for: SignedDuration, since_update: Option<i64>, layer: Layer) -> Verdict {
    let outage = Outage { off_for, since_update: since_update.map(days) };
    policy(profile, &outage)[&layer].verdict
}

#[test]
fn the_two_tables_to_the_letter() {
    use Layer::{Infrastructure, Kubernetes};
    use Verdict::{Impacted, NotImpacted};
    let tables = |off, since, layer| verdict(Profile::Tables2024, off, since, layer);
    for (off, infrastructure) in [(days(29), NotImpacted), (days(30), Impacted), (days(31), Impacted)] {
        assert_eq!(tables(off, None, Infrastructure), infrastructure, "{off}");
        assert_eq!(tables(off, None, Kubernetes), Impacted, "{off}");
    }
    for since in [10, 90, 91, 1_000] {
        assert_eq!(tables(SignedDuration::ZERO, Some(since), Infrastructure), NotImpacted);
        assert_eq!(tables(SignedDuration::ZERO, Some(since), Kubernetes), NotImpacted);
    }
}

#[test]
fn every_limit_is_decided() {
    use Layer::{ClusterInfrastructure, Infrastructure, Kubernetes, KubernetesWorkers, LoadBalancer};
    use Verdict::{Impacted, NotImpacted, Unknown};
    let second = SignedDuration::from_secs(1);
    let documented = |off, since, layer| verdict(Profile::Documented, off, since, layer);
    for layer in [Infrastructure, ClusterInfrastructure, LoadBalancer] {
        assert_eq!(documented(days(27) - second, Some(30), layer), NotImpacted);
        assert_eq!(documented(days(27), Some(30), layer), Impacted);
        assert_eq!(documented(SignedDuration::ZERO, Some(90), layer), NotImpacted);
        assert_eq!(documented(SignedDuration::ZERO, Some(91), layer), Impacted);
        assert_eq!(documented(SignedDuration::ZERO, None, layer), Unknown);
        let legacy = |off, since| verdict(Profile::Legacy2022, off, since, layer);
        assert_eq!(legacy(days(18) - second, Some(20)), NotImpacted);
        assert_eq!(legacy(days(18), Some(20)), Impacted);
        assert_eq!(legacy(SignedDuration::ZERO, Some(60)), NotImpacted);
        assert_eq!(legacy(SignedDuration::ZERO, Some(61)), Impacted);
        assert_eq!(verdict(Profile::Azurelocal2405, SignedDuration::ZERO, Some(400), layer), NotImpacted);
    }
    for layer in [Kubernetes, KubernetesWorkers] {
        assert_eq!(documented(days(1), Some(1), layer), NotImpacted);
        assert_eq!(documented(days(1) + second, Some(1), layer), Unknown);
        assert_eq!(documented(days(4) - second, Some(1), layer), Unknown);
        assert_eq!(documented(days(4), Some(1), layer), Impacted);
        let local = |off| verdict(Profile::Azurelocal2405, off, Some(1), layer);
        assert_eq!(local(days(7)), NotImpacted);
        assert_eq!(local(days(7) + second), Unknown);
        assert_eq!(local(days(27)), Impacted);
    }
}

#[test]
fn rules_are_named_as_the_documents_are_read() {
    let rule = |off, since, layer| {
        let outage = Outage { off_for: off, since_update: Some(days(since)) };
        policy(Profile::Documented, &outage)[&layer].rule.unwrap()
    };
    let (infrastructure, kubernetes) = (Layer::Infrastructure, Layer::Kubernetes);
    assert_eq!(rule(SignedDuration::ZERO, 10, infrastructure), Rule::P1);
    assert_eq!(rule(SignedDuration::ZERO, 100, infrastructure), Rule::P3);
    assert_eq!(rule(SignedDuration::ZERO, 100, kubernetes), Rule::P1);
    assert_eq!(rule(days(1), 10, kubernetes), Rule::P4);
    assert_eq!(rule(days(2), 10, kubernetes), Rule::P5);
    assert_eq!(rule(days(5), 10, kubernetes), Rule::P6);
    assert_eq!(rule(days(5), 10, infrastructure), Rule::P6);
    assert_eq!(rule(days(35), 100, infrastructure), Rule::P7);
    assert_eq!(rule(days(90), 100, kubernetes), Rule::P8);
    assert_eq!(rule(days(365), 400, kubernetes), Rule::P10);
    let outage = Outage { off_for: SignedDuration::ZERO, since_update: Some(days(100)) };
    assert_eq!(policy(Profile::Tables2024, &outage)[&infrastructure].rule, Some(Rule::P2));
}

#[test]
fn the_last_second_of_a_certificate_is_good_and_that_of_a_token_is_not() {
    let good = |material, ends| {
        let findings = measured(&[one(Class::NodeAgent, material, ends)], at(0));
        findings[0].judgement.verdict == Verdict::NotImpacted
    };
    assert!(good(Material::Certificate, 0));
    assert!(!good(Material::Certificate, -1));
    assert!(!good(Material::Token, 0));
    assert!(good(Material::Token, 1));
}

#[test]
fn every_class_has_its_rule_and_its_remedy() {
    use Class::*;
    use Material::{Certificate, Token};
    let expected = [
        (RootCa, Certificate, Rule::V1, Heals::OnTheHost),
        (CloudAgent, Certificate, Rule::V2, Heals::Repair),
        (NodeAgentServer, Certificate, Rule::V2, Heals::Repair),
        (Administrator, Certificate, Rule::V3, Heals::OnTheHost),
        (Administrator, Token, Rule::V4, Heals::OnTheHost),
        (NodeAgent, Certificate, Rule::V5, Heals::Repair),
        (InfrastructureProvider, Token, Rule::V6, Heals::Repair),
        (ControlPlane, Certificate, Rule::V7, Heals::Repair),
        (KmsPlugin, Token, Rule::V8, Heals::Repair),
        (KubeletClient, Certificate, Rule::V9, Heals::Repair),
        (CertificateManager, Token, Rule::V10, Heals::Repair),
        (LoadBalancerAgent, Certificate, Rule::V11, Heals::Repair),
        (Kubeconfig, Certificate, Rule::V12, Heals::Repair),
    ];
    for (class, material, rule, heals) in expected {
        let finding = &measured(&[one(class, material, -60)], at(0))[0];
        assert_eq!((finding.judgement.rule, finding.heals), (Some(rule), heals), "{class}");
        assert_eq!(finding.judgement.verdict, Verdict::Impacted);
        assert!(!finding.judgement.action.is_empty());
    }
}

/// With a good token a client has its certificate again by a login; with one that has ended nobody but an administrator
/// helps, and an administrator whose token has ended has to go to the host.
#[test]
fn a_token_decides_how_a_certificate_is_had_again() {
    let pair = |class, token| {
        let all = [one(class, Material::Certificate, -60), one(class, Material::Token, token)];
        let findings = measured(&all, at(0));
        (findings[0].judgement.rule.unwrap(), findings[0].heals)
    };
    assert_eq!(pair(Class::Administrator, 60), (Rule::V3, Heals::Login));
    assert_eq!(pair(Class::Administrator, -60), (Rule::V4, Heals::OnTheHost));
    assert_eq!(pair(Class::NodeAgent, 60), (Rule::V5, Heals::ByItself));
    assert_eq!(pair(Class::NodeAgent, -60), (Rule::V6, Heals::Repair));
}

/// An ended token beside a good certificate: all goes on until the holder restarts, and that is said.
#[test]
fn what_works_until_a_restart_is_told() {
    let all = [one(Class::KmsPlugin, Material::Certificate, 60), one(Class::KmsPlugin, Material::Token, -60)];
    let findings = measured(&all, at(0));
    assert!(!findings[0].latent_until_restart);
    assert!(findings[1].latent_until_restart);
    assert_eq!(findings[1].judgement.verdict, Verdict::Impacted);
}

#[test]
fn what_cannot_be_read_is_unknown_and_a_layer_is_as_bad_as_its_worst() {
    let mut unread = one(Class::KmsPlugin, Material::Token, 0);
    unread.evidence = Evidence::Unreadable { why: "permission denied".to_owned() };
    let outage = Outage { off_for: SignedDuration::ZERO, since_update: Some(days(1)) };
    let judged = |credentials: &[Credential]| assess(Profile::Documented, outage, credentials, at(0));
    let of = |assessment: &Assessment, layer| {
        assessment.layers.iter().find(|found| found.layer == layer).unwrap().clone()
    };
    let good = one(Class::CsiDriver, Material::Token, 60);
    let bad = one(Class::CloudProvider, Material::Token, -60);
    let layer = Layer::ClusterInfrastructure;
    assert_eq!(of(&judged(std::slice::from_ref(&good)), layer).measured, Verdict::NotImpacted);
    let both = judged(&[good.clone(), unread.clone()]);
    assert_eq!(of(&both, layer).measured, Verdict::Unknown);
    assert_eq!(both.verdict(), Verdict::Unknown);
    let all = judged(&[good, unread, bad]);
    assert_eq!(of(&all, layer).measured, Verdict::Impacted);
    assert_eq!(of(&all, layer).rule, Some(Rule::V6));
    assert_eq!(of(&all, Layer::Infrastructure).measured, Verdict::Unknown);
    assert_eq!(of(&all, Layer::Infrastructure).rule, Some(Rule::P1));
}

#[test]
fn disagreement_is_said_in_both_directions() {
    let long = Outage { off_for: days(28), since_update: Some(days(30)) };
    let judged = |outage, ends| {
        let credentials = [one(Class::NodeAgent, Material::Certificate, ends)];
        let assessment = assess(Profile::Documented, outage, &credentials, at(0));
        assessment.layers[0].disagreement.clone()
    };
    let untouched = judged(long, 86_400).unwrap();
    assert!(untouched.contains("nothing has to be repaired") && untouched.contains("P7"), "{untouched}");
    let none = Outage { off_for: SignedDuration::ZERO, since_update: Some(days(1)) };
    let hit = judged(none, -60).unwrap();
    assert!(hit.contains("but it is not") && hit.contains("P1"), "{hit}");
    assert_eq!(judged(none, 60), None);
}

#[test]
fn a_beginning_in_the_future_makes_no_verdict() {
    let mut early = one(Class::NodeAgent, Material::Certificate, 86_400);
    early.evidence = Evidence::Seen { not_before: at(3_600), not_after: at(86_400) };
    let finding = &measured(&[early], at(0))[0];
    assert_eq!((finding.judgement.verdict, finding.judgement.rule), (Verdict::Unknown, Some(Rule::V14)));
}

/// One trouble for each finding, none hidden by another, and in the order of repair.
#[test]
fn every_trouble_is_named() {
    use Class::*;
    let mut unread = one(KubeVip, Material::Token, 0);
    unread.evidence = Evidence::Unreadable { why: "it is empty".to_owned() };
    let credentials = [
        unread,
        one(Kubeconfig, Material::Certificate, -60),
        one(KmsPlugin, Material::Token, -60),
        one(KmsPlugin, Material::Certificate, 60),
        one(Administrator, Material::Certificate, -60),
        one(Administrator, Material::Token, 60),
        one(CloudAgent, Material::Certificate, 60),
    ];
    let stranger = Stranger { client: "kvactl (cloudconfig)".to_owned(), server: "ca-1:55000".to_owned() };
    let found = doctor(&measured(&credentials, at(0)), &[stranger], &[], at(0));
    let ids: Vec<&str> = found.iter().map(|diagnosis| diagnosis.id.id()).collect();
    assert_eq!(
        ids,
        ["administrator-idle", "foreign-root", "kms-plugin-ended", "kubeconfig-ended", "unreadable"]
    );
    assert!(found[2].latent_until_restart);
    assert!(found.iter().all(|diagnosis| !diagnosis.repair.is_empty() && !diagnosis.why.is_empty()));
}

#[test]
fn what_is_to_be_renewed_before_a_shutdown_comes_in_order() {
    let credentials = [
        one(Class::Kubeconfig, Material::Certificate, 86_400),
        one(Class::KmsPlugin, Material::Certificate, 86_400),
        one(Class::KmsPlugin, Material::Token, 2 * 86_400),
        one(Class::CloudAgent, Material::Certificate, 3 * 86_400),
        one(Class::NodeAgent, Material::Certificate, 100 * 86_400),
    ];
    let asked = shutdown(&credentials, at(0), days(20));
    assert_eq!(asked.verdict, Verdict::Impacted);
    let classes: Vec<Class> = asked.renew_first.iter().map(|due| due.class).collect();
    assert_eq!(classes, [Class::CloudAgent, Class::KmsPlugin, Class::KmsPlugin, Class::Kubeconfig]);
    assert!(asked.renew_first[1].name.starts_with("token"), "{:?}", asked.renew_first[1]);
    assert_eq!(asked.safe_for, Some(days(1)));
    assert!(asked.renew_first.iter().all(|due| due.rule == Rule::V13));
    assert_eq!(shutdown(&credentials, at(0), days(1)).verdict, Verdict::NotImpacted);
    assert_eq!(shutdown(&[], at(0), days(1)).verdict, Verdict::Unknown);
}

/// A certificate on storage that does not outlive its holder counts for nothing after an outage; its token does.
#[test]
fn what_a_restart_loses_is_not_counted_on() {
    let mut lost = one(Class::InfrastructureProvider, Material::Certificate, 3_600);
    lost.ephemeral = true;
    let alone = shutdown(std::slice::from_ref(&lost), at(0), days(1));
    assert_eq!((alone.verdict, alone.safe_for), (Verdict::Unknown, None));
    let with_token = [lost, one(Class::InfrastructureProvider, Material::Token, 2 * 86_400)];
    assert_eq!(shutdown(&with_token, at(0), days(1)).verdict, Verdict::NotImpacted);
}

fn profiles() -> impl Strategy<Value = Profile> {
    prop::sample::select(Profile::ALL.to_vec())
}

fn credentials() -> impl Strategy<Value = Vec<Credential>> {
    use Class::*;
    let classes = vec![
        RootCa,
        CloudAgent,
        Administrator,
        NodeAgent,
        KmsPlugin,
        CertificateManager,
        LoadBalancerAgent,
        ClusterCa,
        ControlPlane,
        KubeletClient,
        KubeletServing,
        Kubeconfig,
    ];
    let materials = prop::sample::select(vec![Material::Certificate, Material::Token]);
    let credential =
        (prop::sample::select(classes), materials, -100_000_i64..10_000_000, any::<bool>(), 0..10).prop_map(
            |(class, material, ends, ephemeral, unread)| {
                let mut credential = one(class, material, ends);
                credential.ephemeral = ephemeral;
                if unread == 0 {
                    credential.evidence = Evidence::Unreadable { why: "no answer".to_owned() };
                }
                credential
            },
        );
    prop::collection::vec(credential, 0..8)
}

proptest! {
    #[test]
    fn a_longer_outage_never_makes_a_policy_better(
        profile in profiles(),
        off in 0_i64..40_000_000,
        longer in 0_i64..40_000_000,
        since in prop::option::of(0_i64..500),
        later in 0_i64..500,
    ) {
        let judged = |off, since: Option<i64>| {
            let outage = Outage { off_for: seconds(off), since_update: since.map(days) };
            policy(profile, &outage)
        };
        let (short, long) = (judged(off, since), judged(off + longer, since.map(|since| since + later)));
        for (layer, before) in &short {
            prop_assert!(long[layer].verdict >= before.verdict, "{layer}: {before:?} became {:?}", long[layer]);
        }
    }

    #[test]
    fn what_has_ended_or_was_not_read_is_never_good(credentials in credentials(), when in 0_i64..10_000_000) {
        for (credential, finding) in credentials.iter().zip(measured(&credentials, at(when))) {
            let good = finding.judgement.verdict == Verdict::NotImpacted;
            prop_assert_eq!(good, credential.has_ended(at(when)) == Some(false));
            prop_assert_eq!(good, finding.heals == Heals::NotNeeded);
        }
    }

    #[test]
    fn later_is_never_better(credentials in credentials(), when in 0_i64..5_000_000, later in 0_i64..5_000_000) {
        let (first, second) = (measured(&credentials, at(when)), measured(&credentials, at(when + later)));
        for (before, after) in first.iter().zip(&second) {
            prop_assert!(after.judgement.verdict >= before.judgement.verdict);
        }
    }

    #[test]
    fn a_longer_shutdown_is_never_safer(credentials in credentials(), planned in 0_i64..5_000_000, longer in 0_i64..5_000_000) {
        let short = shutdown(&credentials, at(0), seconds(planned));
        let long = shutdown(&credentials, at(0), seconds(planned + longer));
        // Something that ends is worse than something that is not known, and the longer one may only add to it.
        prop_assert!(long.verdict >= short.verdict);
        prop_assert!(long.renew_first.len() >= short.renew_first.len());
        prop_assert_eq!(long.safe_for, short.safe_for);
    }

    #[test]
    fn whatever_is_not_fine_has_a_name(credentials in credentials(), when in 0_i64..10_000_000) {
        let findings = measured(&credentials, at(when));
        let bad = findings.iter().filter(|finding| finding.judgement.verdict != Verdict::NotImpacted).count();
        prop_assert_eq!(doctor(&findings, &[], &[], at(0)).len(), bad);
    }

    #[test]
    fn what_is_called_safe_is_safe_to_the_second(credentials in credentials()) {
        let Some(safe) = shutdown(&credentials, at(0), SignedDuration::ZERO).safe_for else { return Ok(()) };
        let asked = |planned| shutdown(&credentials, at(0), planned);
        if safe > SignedDuration::ZERO {
            prop_assert!(asked(safe).renew_first.is_empty());
            prop_assert!(asked(safe).verdict < Verdict::Impacted);
        }
        prop_assert_eq!(asked(safe + SignedDuration::from_secs(1)).verdict, Verdict::Impacted);
    }
}
