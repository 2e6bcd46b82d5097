//! Who may do what.
//!
//! The names of roles are public, what is in them is not: everything here is assumed, but for administrators, who may do
//! everything, and that each may renew its own certificate.

use std::collections::BTreeSet;

use super::code::{MocCode, Refusal};
use super::document::{Document, Identity};
use super::login_file::ClientType;

/// Something that not everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    ReadIdentities,
    WriteIdentities,
    /// Have certificates signed that are nobody's.
    Sign,
    ReadRoles,
    WriteRoles,
}

use Right::{ReadIdentities, ReadRoles, Sign, WriteIdentities, WriteRoles};

const EVERYTHING: &[Right] = &[ReadIdentities, WriteIdentities, Sign, ReadRoles, WriteRoles];

/// Public names, and what is assumed of each. Roles about machines and networks give nothing here and are not offered.
pub(super) const ROLES: &[(&str, &[Right])] = &[
    ("Owner", EVERYTHING),
    ("Contributor", &[ReadIdentities, WriteIdentities, Sign, ReadRoles]),
    ("Reader", &[ReadIdentities, ReadRoles]),
    ("IdentityContributor", &[ReadIdentities, WriteIdentities]),
    ("IdentityReader", &[ReadIdentities]),
    ("CertificateSigner", &[Sign]),
    ("RoleContributor", &[ReadRoles, WriteRoles]),
    ("RoleReader", &[ReadRoles]),
];

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
