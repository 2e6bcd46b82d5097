//! Who may do what.
//!
//! The names of roles are public, and of each a sentence that says what it is about. Which calls that covers is not: everything
//! here is assumed, but for administrators, who may do everything, and that each may renew its own certificate.

use std::collections::BTreeSet;

use super::code::{MocCode, Refusal};
use super::document::{Document, Identity};
use super::login_file::ClientType;
use super::wire::{Action, access, general, provider};

/// Something that not everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    ReadIdentities,
    WriteIdentities,
    /// Have certificates signed that are nobody's.
    Sign,
    ReadRoles,
    WriteRoles,
    ReadHealth,
}

use Right::{ReadHealth, ReadIdentities, ReadRoles, Sign, WriteIdentities, WriteRoles};

const EVERYTHING: &[Right] = &[ReadIdentities, WriteIdentities, Sign, ReadRoles, WriteRoles, ReadHealth];

/// Public names, and what is assumed of each. Roles about machines and networks give nothing here and are not offered.
pub(super) const ROLES: &[(&str, &[Right])] = &[
    ("Owner", EVERYTHING),
    ("Contributor", &[ReadIdentities, WriteIdentities, Sign, ReadRoles, ReadHealth]),
    ("Reader", &[ReadIdentities, ReadRoles, ReadHealth]),
    ("IdentityContributor", &[ReadIdentities, WriteIdentities]),
    ("IdentityReader", &[ReadIdentities]),
    ("CertificateContributor", &[Sign]),
    ("CertificateSigner", &[Sign]),
    ("RoleContributor", &[ReadRoles, WriteRoles]),
    ("RoleReader", &[ReadRoles]),
    ("HealthReader", &[ReadHealth]),
];

impl Right {
    /// The right in the words of the wire API.
    pub(super) fn actions(self) -> Vec<Action> {
        let may = |provider, general| Action { provider, general, operation: 0 };
        let does = |provider, operation| Action { provider, general: general::PROVIDER_ACTION, operation };
        match self {
            Self::ReadIdentities => vec![may(provider::IDENTITY, general::READ)],
            Self::WriteIdentities => vec![
                may(provider::IDENTITY, general::WRITE),
                may(provider::IDENTITY, general::DELETE),
                does(provider::IDENTITY, access::IDENTITY_REVOKE),
                does(provider::IDENTITY, access::IDENTITY_ROTATE),
                does(provider::IDENTITY, access::IDENTITY_CERTIFICATE_CREATE),
                does(provider::IDENTITY, access::IDENTITY_CERTIFICATE_RENEW),
            ],
            Self::Sign => vec![
                does(provider::CERTIFICATE, access::CERTIFICATE_SIGN),
                does(provider::CERTIFICATE, access::CERTIFICATE_RENEW),
            ],
            Self::ReadRoles => {
                vec![may(provider::ROLE, general::READ), may(provider::ROLE_ASSIGNMENT, general::READ)]
            }
            // Roles themselves cannot be changed here, only who has them.
            Self::WriteRoles => vec![
                may(provider::ROLE_ASSIGNMENT, general::WRITE),
                may(provider::ROLE_ASSIGNMENT, general::DELETE),
            ],
            Self::ReadHealth => vec![may(provider::HEALTH_MONITOR, general::READ)],
        }
    }
}

/// What a role gives.
pub(super) fn of_role(role: &str) -> Result<BTreeSet<Right>, Refusal> {
    let found = ROLES.iter().find(|(name, _)| *name == role);
    let (_, rights) =
        found.ok_or_else(|| Refusal::new(MocCode::NotFound, format!("there is no role {role:?}")))?;
    Ok(rights.iter().copied().collect())
}

/// What an identity may do.
pub(super) fn of_identity(document: &Document, name: &str, identity: &Identity) -> BTreeSet<Right> {
    if identity.client_type == ClientType::Admin {
        return EVERYTHING.iter().copied().collect();
    }
    let own = document.assignments.iter().filter(|assignment| assignment.identity == name);
    own.filter_map(|assignment| of_role(&assignment.role).ok()).flatten().collect()
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) rights: BTreeSet<Right>,
}

impl Caller {
    pub(super) fn needs(&self, right: Right) -> Result<(), Refusal> {
        if self.rights.contains(&right) {
            return Ok(());
        }
        Err(Refusal::new(MocCode::AccessDenied, format!("identity {} may not do that", self.name)))
    }

    /// Nobody may make, rename or take over somebody who may do more: a token of that one would be as good as its rights.
    pub(super) fn needs_all(&self, rights: &BTreeSet<Right>) -> Result<(), Refusal> {
        rights.iter().try_for_each(|right| self.needs(*right))
    }
}
