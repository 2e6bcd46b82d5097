//! Tokens: JWTs signed with RS256, as the agents' API has them.
//!
//! Header `kid` and claims `name`, `jti`, `iat`, `exp`, `iss` are those seen in the field; what the vendor's agents do with
//! each is not public, so the checks here are ours.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use kubecert_pki::{Fingerprint, KeyAlgorithm, PrivateKey};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::code::{MocCode, Refusal};
use super::error::whole_seconds;

/// How far a token may begin in the future: clocks of one site differ by seconds.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// The longest token that is looked at. Ours have less than a thousand characters.
const LONGEST: usize = 8 << 10;

/// Signs tokens, and knows its own again.
pub(super) struct TokenKey {
    pair: KeyPair,
    public: Vec<u8>,
    /// Its name in tokens' headers: hexadecimal.
    id: String,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) name: String,
    pub(super) jti: String,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) iss: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

impl TokenKey {
    /// A new key as it is stored.
    pub(super) fn generate() -> Result<PrivateKey, String> {
        PrivateKey::generate(KeyAlgorithm::Rsa2048).map_err(|error| error.to_string())
    }

    pub(super) fn new(key: &PrivateKey) -> Result<Self, String> {
        let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
        let pair = KeyPair::from_pkcs8(&der).map_err(|_| "the key of its tokens is no RSA key")?;
        let public = key.spki_der().to_vec();
        let id = hex::encode(&Fingerprint::of(&public).as_bytes()[..20]);
        Ok(Self { pair, public, id })
    }

    pub(super) fn sign(&self, claims: &Claims) -> Result<SecretString, String> {
        let header = json!({"alg": "RS256", "kid": self.id, "typ": "JWT"});
        let part = |value: &dyn std::fmt::Display| URL_SAFE_NO_PAD.encode(value.to_string());
        let body = serde_json::to_value(claims).map_err(|error| error.to_string())?;
        let signed = Zeroizing::new(format!("{}.{}", part(&header), part(&body)));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "the key of its tokens does not sign")?;
        Ok(SecretString::from(format!("{}.{}", *signed, URL_SAFE_NO_PAD.encode(signature))))
    }

    /// What a token says, if this key has signed it and it is good now.
    pub(super) fn check(&self, token: &str, issuer: &str, now: Timestamp) -> Result<Claims, Refusal> {
        let refused = |why: &str| Refusal::token(MocCode::InvalidToken, why);
        let claims = self.open(token).map_err(refused)?;
        if claims.iss != issuer {
            return Err(refused("it is another authority's"));
        }
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| refused("it names no time"));
        let (begins, ends) = (time(claims.iat)?, time(claims.exp)?);
        // RFC 7519 §4.1.4: not good any more at its `exp`.
        if now >= ends {
            let why = format!("it ended at {ends}, and this authority's clock says {}", whole_seconds(now));
            return Err(Refusal::token(MocCode::Expired, why));
        }
        if begins.duration_since(now) > LEEWAY {
            let why =
                format!("it begins at {begins}, and this authority's clock says {}", whole_seconds(now));
            return Err(Refusal::token(MocCode::InvalidToken, why));
        }
        Ok(claims)
    }

    fn open(&self, token: &str) -> Result<Claims, &'static str> {
        const NO_JWT: &str = "it is no JWT";
        const FOREIGN: &str = "it is not signed by this authority";
        if token.len() > LONGEST {
            return Err(NO_JWT);
        }
        let (signed, signature) = token.trim().rsplit_once('.').ok_or(NO_JWT)?;
        let (header, claims) = signed.split_once('.').ok_or(NO_JWT)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| NO_JWT);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| NO_JWT)?;
        // RFC 8725 §3.1: the algorithm is what we say, not what the token says.
        if header.alg != "RS256" {
            return Err("it is not signed with RS256");
        }
        if header.kid.is_some_and(|key| key != self.id) {
            return Err(FOREIGN);
        }
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
        key.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| FOREIGN)?;
        serde_json::from_slice(&decode(claims)?).map_err(|_| "it does not say whose it is, or until when")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    static KEYS: LazyLock<[TokenKey; 2]> =
        LazyLock::new(|| [(); 2].map(|()| TokenKey::new(&TokenKey::generate().unwrap()).unwrap()));

    fn claims() -> Claims {
        Claims { name: "csi".into(), jti: "1".into(), iat: 1000, exp: 2000, iss: "a".into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_is_good_from_its_beginning_and_until_right_before_its_end() {
        let token = KEYS[0].sign(&claims()).unwrap();
        let check = |now| KEYS[0].check(token.expose_secret(), "a", at(now)).map_err(|refusal| refusal.code);
        assert_eq!(check(1000), Ok(claims()));
        assert_eq!(check(1999), Ok(claims()));
        assert_eq!(check(2000), Err(MocCode::Expired));
        assert_eq!(check(1000 - 60), Ok(claims()), "clocks differ");
        assert_eq!(check(1000 - 61), Err(MocCode::InvalidToken));
    }

    #[test]
    fn what_another_has_signed_or_nobody_is_refused() {
        let said = |token: &str, issuer| KEYS[0].check(token, issuer, at(1500)).unwrap_err().to_string();
        let foreign = KEYS[1].sign(&claims()).unwrap();
        let own = KEYS[0].sign(&claims()).unwrap();
        let own = own.expose_secret();
        assert!(said(foreign.expose_secret(), "a").contains("not signed by this authority"));
        assert!(said(own, "b").contains("another authority's"));
        assert!(said("", "a").contains("no JWT"));
        let (signed, _) = own.rsplit_once('.').unwrap();
        assert!(said(&format!("{signed}."), "a").contains("not signed by this authority"));
        let (_, rest) = signed.split_once('.').unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert!(said(&format!("{none}.{rest}."), "a").contains("not signed with RS256"));
    }

    proptest! {
        #[test]
        fn a_token_that_was_changed_anywhere_is_refused(place in 0_usize..600, with in "[A-Za-z0-9_.-]") {
            let token = KEYS[0].sign(&claims()).unwrap();
            let token = token.expose_secret();
            let place = place % token.len();
            let changed = format!("{}{with}{}", &token[..place], &token[place + 1..]);
            let checked = KEYS[0].check(&changed, "a", at(1500));
            // The last character of base64 may hold bits that mean nothing; a strict decoder refuses others there.
            prop_assert!(changed == token || checked.is_err());
        }
    }
}
