//! Login files: what somebody needs to log in for the first time, or again.
//!
//! YAML with lower-case keys, as the public client library reads it (`pkg/auth`, `LoginConfig`): `name`, `token`,
//! `certificate` (base64 of the authority's roots as PEM), `clienttype`, `cloudfqdn`, `cloudport`, `cloudauthport`, `location`,
//! `type`. The least that works is the first three.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kubecert_core::assess::Evidence;
use kubecert_pki::{Certificate, parse_pem_certificates, to_pem_chain};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::AuthorityError;
use crate::apimodel::write_private;
use crate::arc::{content, token};

/// The port on which the public clients look for everything but the login.
pub const DEFAULT_PORT: u16 = 55000;
/// The port on which they log in.
pub const DEFAULT_LOGIN_PORT: u16 = 65000;

const NEW_ONE: &str = "Have the authority write a new login file: `kubecert authority identity rotate NAME`.";

/// What kind of client an identity is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientType {
    /// A cluster's control plane.
    ControlPlane,
    /// Anything outside.
    #[default]
    ExternalClient,
    /// A node agent.
    Node,
    /// An administrator, who may do everything.
    Admin,
    /// A machine without a hypervisor.
    BareMetal,
    /// A load balancer's agent.
    LoadBalancer,
}

/// Name and number of each, in the numbers' order.
const CLIENT_TYPES: [(ClientType, &str); 6] = [
    (ClientType::ControlPlane, "ControlPlane"),
    (ClientType::ExternalClient, "ExternalClient"),
    (ClientType::Node, "Node"),
    (ClientType::Admin, "Admin"),
    (ClientType::BareMetal, "BareMetal"),
    (ClientType::LoadBalancer, "LoadBalancer"),
];

impl ClientType {
    pub(super) fn number(self) -> i32 {
        let place = CLIENT_TYPES.iter().position(|(kind, _)| *kind == self).unwrap_or_default();
        i32::try_from(place).unwrap_or_default()
    }

    pub(super) fn from_number(number: i32) -> Option<Self> {
        let place = usize::try_from(number).ok()?;
        CLIENT_TYPES.get(place).map(|(kind, _)| *kind)
    }
}

impl fmt::Display for ClientType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CLIENT_TYPES.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for ClientType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = CLIENT_TYPES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        found.map(|(kind, _)| *kind).ok_or_else(|| {
            let names = CLIENT_TYPES.map(|(_, name)| name).join(", ");
            format!("{text:?} is no type of client; there are {names}")
        })
    }
}

/// Where an authority is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its name or address, which its certificate has to carry.
    pub host: String,
    /// Where it takes everything but logins.
    pub port: u16,
    /// Where it takes logins.
    pub login_port: u16,
}

/// A login file's content.
#[derive(Clone, Debug)]
pub struct LoginFile {
    /// The identity's name.
    pub name: String,
    /// Its token.
    pub token: SecretString,
    /// Whom the client is to trust as a server.
    pub roots: Vec<Certificate>,
    /// What kind of client.
    pub client_type: ClientType,
    /// Where the authority is, if the file says so.
    pub address: Option<Address>,
    /// The location's name; it may be empty.
    pub location: String,
}

/// As it is written.
#[derive(Deserialize)]
struct Written {
    name: Option<String>,
    token: Option<SecretString>,
    certificate: Option<String>,
    clienttype: Option<String>,
    cloudfqdn: Option<String>,
    cloudport: Option<u16>,
    cloudauthport: Option<u16>,
    location: Option<String>,
}

impl LoginFile {
    /// Reads a login file, as it is or as a whole in base64, as the appliance's configuration holds it.
    ///
    /// # Errors
    ///
    /// Says whether it cannot be read, is empty, is no login file, or which of its parts is wrong.
    pub fn read(path: &Path) -> Result<Self, AuthorityError> {
        let text = content(path);
        text.and_then(|text| Self::parse(&text)).map_err(|cause| {
            AuthorityError::new(format!("cannot use login file {}", path.display()), cause).remedy(NEW_ONE)
        })
    }

    /// As [`LoginFile::read`], from its text.
    ///
    /// # Errors
    ///
    /// As [`LoginFile::read`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let decoded = STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.map(Zeroizing::new);
        // What the parser says could hold a piece of the token.
        let written: Written = serde_saphyr::from_str(decoded.as_ref().map_or(text, |text| text))
            .map_err(|_| "it is no login file: it is not YAML with a token".to_owned())?;
        let name = written.name.filter(|name| !name.is_empty()).ok_or("it has no name")?;
        let token = written.token.filter(|token| !token.expose_secret().is_empty());
        let token = token.ok_or("it has no token")?;
        let roots = written.certificate.filter(|roots| !roots.is_empty());
        let roots = decode_roots(&roots.ok_or("it has no certificate of the authority")?, "its certificate")?;
        let client_type = written.clienttype.filter(|kind| !kind.is_empty());
        let client_type = client_type.map_or(Ok(ClientType::default()), |kind| kind.parse())?;
        let address = written.cloudfqdn.filter(|host| !host.is_empty()).map(|host| Address {
            host,
            port: written.cloudport.filter(|port| *port != 0).unwrap_or(DEFAULT_PORT),
            login_port: written.cloudauthport.filter(|port| *port != 0).unwrap_or(DEFAULT_LOGIN_PORT),
        });
        let location = written.location.unwrap_or_default();
        Ok(Self { name, token, roots, client_type, address, location })
    }

    /// From when to when its token is good, as that says itself.
    ///
    /// # Errors
    ///
    /// When the token is none that tells.
    pub fn life(&self) -> Result<(Timestamp, Timestamp), String> {
        match token::life(self.token.expose_secret())? {
            Evidence::Seen { not_before, not_after } => Ok((not_before, not_after)),
            Evidence::Unreadable { why } => Err(why),
        }
    }

    /// The token's id (RFC 7519, `jti`), if it has one.
    pub fn token_id(&self) -> Option<String> {
        token::id(self.token.expose_secret())
    }

    /// The file's text.
    pub fn to_yaml(&self) -> Zeroizing<String> {
        // Long enough for all of it, so that no piece of the token is left behind where the text has grown.
        let mut yaml = Zeroizing::new(String::with_capacity(64 << 10));
        let roots = STANDARD.encode(to_pem_chain(&self.roots));
        let mut line = |key: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(yaml, "{key}: {value}");
        };
        line("name", &quoted(&self.name));
        line("token", &quoted(self.token.expose_secret()));
        line("certificate", &quoted(&roots));
        line("clienttype", &quoted(&self.client_type.to_string()));
        if let Some(address) = &self.address {
            line("cloudfqdn", &quoted(&address.host));
            line("cloudport", &address.port.to_string());
            line("cloudauthport", &address.login_port.to_string());
        }
        line("location", &quoted(&self.location));
        line("type", &quoted("CA-Signed"));
        yaml
    }

    /// Writes it, for its owner alone, at once and durably.
    ///
    /// # Errors
    ///
    /// When it cannot be written; what was there before stays.
    pub fn write(&self, path: &Path) -> Result<(), AuthorityError> {
        write_private(path, self.to_yaml().as_bytes()).map_err(|error| {
            AuthorityError::new(
                format!("cannot write login file {}", path.display()),
                kubecert_engine::issue::chain(&error),
            )
            .remedy("What was there before is unchanged.")
        })
    }
}

/// A string in double quotes (YAML 1.2 §7.3.1). All that is not plain ASCII is written by its number: among the rest are
/// characters that YAML does not allow, or takes for the end of a line.
fn quoted(text: &str) -> Zeroizing<String> {
    let mut quoted = Zeroizing::new(String::with_capacity(12 * text.len() + 2));
    quoted.push('"');
    for character in text.chars() {
        // Writing to a string cannot fail.
        let _ = match character {
            '"' | '\\' => write!(quoted, "\\{character}"),
            ' '..='~' => write!(quoted, "{character}"),
            _ => write!(quoted, "\\U{:08X}", u32::from(character)),
        };
    }
    quoted.push('"');
    quoted
}

/// Certificates in base64 of PEM; at least one.
pub(super) fn decode_roots(text: &str, what: &str) -> Result<Vec<Certificate>, String> {
    let pem = STANDARD.decode(text.trim()).map_err(|_| format!("{what} is not in base64"))?;
    parse_pem_certificates(pem).map_err(|error| format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_login_file_is_told_without_its_content() {
        for (text, why) in [
            ("[1, 2", "it is no login file: it is not YAML with a token"),
            ("{}", "it has no name"),
            ("name: a\ntoken: ''", "it has no token"),
            ("name: a\ntoken: s3cret", "it has no certificate of the authority"),
            ("name: a\ntoken: s3cret\ncertificate: '%'", "its certificate is not in base64"),
            ("name: a\ntoken: s3cret\ncertificate: YQ==", "its certificate: no certificate in the PEM text"),
        ] {
            let said = LoginFile::parse(text).expect_err(text);
            assert_eq!(said, why, "{text}");
        }
    }

    #[test]
    fn types_of_clients_have_the_public_numbers() {
        assert_eq!(ClientType::from_number(3), Some(ClientType::Admin));
        assert_eq!((ClientType::LoadBalancer.number(), ClientType::ControlPlane.number()), (5, 0));
        assert_eq!("admin".parse(), Ok(ClientType::Admin));
        assert!(ClientType::from_number(-1).is_none() && "root".parse::<ClientType>().is_err());
    }

    /// Any characters at all; `any::<String>()` leaves control characters out.
    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn written_and_read_again_it_is_the_same(name in text(), location in text(), port in 1_u16..) {
            let root = crate::authority::live::first_root("a", jiff::Timestamp::now(), 60).unwrap();
            let roots = parse_pem_certificates(&root.certificate).unwrap();
            prop_assume!(!name.is_empty());
            let address = Address { host: name.clone(), port, login_port: port };
            let token = SecretString::from("a.b.c");
            let client_type = ClientType::Node;
            let file = LoginFile { name, token, roots, client_type, address: Some(address), location };
            let again = LoginFile::parse(&file.to_yaml()).unwrap();
            prop_assert_eq!((file.name, file.address, file.location), (again.name, again.address, again.location));
            prop_assert_eq!((file.roots, file.client_type), (again.roots, again.client_type));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = LoginFile::parse(&text);
        }
    }
}
