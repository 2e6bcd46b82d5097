//! Identities and roots over any sequence of changes.

use proptest::prelude::*;

use super::*;

fn document(old_tokens: OldTokens) -> Document {
    let sealed = || Sealed(SecretString::from("secret"));
    let root = Root { certificate: "1".into(), key: Some(sealed()), by_old: None };
    Document {
        schema: SCHEMA,
        name: "a".into(),
        deployment_id: String::new(),
        hosts: vec!["localhost".into()],
        location: String::new(),
        port: 1,
        login_port: 2,
        lifetimes: Lifetimes::default(),
        old_tokens,
        roots: vec![root],
        overlap_ends: None,
        token_key: sealed(),
        identities: BTreeMap::new(),
        assignments: Vec::new(),
    }
}

fn identity() -> Identity {
    Identity {
        id: "x".into(),
        client_type: ClientType::Node,
        location: String::new(),
        token_s: 10,
        revoked: None,
        version: 0,
        tokens: Vec::new(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn what_becomes_of_an_old_token_is_a_switch_as_assumed() {
    for (old_tokens, code) in [(OldTokens::Refused, Some(MocCode::Revoked)), (OldTokens::UntilTheyEnd, None)]
    {
        let mut document = document(old_tokens);
        document.create("csi", identity()).unwrap();
        document.rotate("csi", "1".into(), at(0)).unwrap();
        document.rotate("csi", "2".into(), at(5)).unwrap();
        assert_eq!(document.accepts("csi", "1").err().map(|refusal| refusal.code), code);
        assert!(document.accepts("csi", "2").is_ok());
        document.tidy(at(10));
        assert!(document.accepts("csi", "1").is_err(), "it has ended");
        document.revoke("csi", at(11)).unwrap();
        assert_eq!(document.accepts("csi", "2").unwrap_err().code, MocCode::Revoked);
        assert_eq!(document.rotate("csi", "3".into(), at(12)).unwrap_err().code, MocCode::Revoked);
        assert_eq!(document.by_id("x").unwrap_err().code, MocCode::Revoked);
    }
}

#[test]
fn an_overlap_ends_by_itself_as_assumed_and_the_old_key_is_forgotten_at_once() {
    let mut document = document(OldTokens::Refused);
    assert_eq!((document.overlap(at(0)), document.accepted(at(0)).len()), (None, 1));
    let new =
        Root { certificate: "2".into(), key: document.roots[0].key.clone(), by_old: Some("2/1".into()) };
    document.replace_root(new, at(100));
    assert_eq!((document.overlap(at(99)), document.accepted(at(99)).len()), (Some(at(100)), 2));
    assert!(document.roots[0].key.is_some() && document.roots[1].key.is_none());
    assert_eq!((document.overlap(at(100)), document.accepted(at(100)).len()), (None, 1));
    assert_eq!(document.accepted(at(100))[0].certificate, "2");
    document.tidy(at(100));
    assert_eq!((document.roots.len(), document.roots[0].by_old.clone()), (1, None));
}

#[test]
fn no_secret_shows() {
    assert!(!format!("{:?}", document(OldTokens::Refused)).contains("secret"));
}

proptest! {
    /// Whatever is done in whatever order, a revoked identity has no way in, and at most one token counts where old ones
    /// are refused.
    #[test]
    fn revoked_is_revoked(steps in proptest::collection::vec(0_u8..5, 0..40)) {
        let mut document = document(OldTokens::Refused);
        for (number, step) in steps.into_iter().enumerate() {
            let now = at(i64::try_from(number).unwrap());
            // Refusals are part of it.
            let _ = match step {
                0 => document.create("a", Identity { id: number.to_string(), ..identity() }),
                1 => document.rotate("a", number.to_string(), now).map(drop),
                2 => document.revoke("a", now),
                3 => document.delete("a"),
                _ => { document.tidy(now); Ok(()) }
            };
            if let Some(identity) = document.identities.get("a") {
                prop_assert!(identity.tokens.len() <= 1);
                if identity.revoked.is_some() {
                    prop_assert!(identity.tokens.is_empty());
                    prop_assert!(document.by_id(&identity.id).is_err());
                }
            }
        }
    }
}
