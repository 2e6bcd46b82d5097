//! The roles that there are, and what each of them allows here. See `rights.rs` for what is assumed.

use std::fmt;

use serde::Serialize;

use super::code::{MocCode, Refusal};
use super::rights::{ROLES, Right};
use super::service::{Call, version};
use super::wire::{
    Action, Permission, Role, RoleRequest, RoleResponse, TRUE, access, general, operation, provider,
};

/// A role as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleInfo {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub actions: Vec<RoleAction>,
    /// What it does not allow although `actions` would.
    pub not_actions: Vec<RoleAction>,
}

/// Something that a role allows, in the words of the wire API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleAction {
    /// To what: "Identity", "Certificate", …; the number, where this program does not know it.
    pub provider: String,
    /// What: "Read", "Write", "Sign", …; the number, where this program does not know it.
    pub operation: String,
}

impl fmt::Display for RoleAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.provider, self.operation)
    }
}

/// `RoleAgent/Invoke`: the roles that there are, all or by name.
pub(super) fn roles(call: &Call, request: RoleRequest) -> Result<RoleResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    let caller = call.caller(&live, now)?;
    let named: Vec<&str> =
        request.roles.iter().map(|role| role.name.as_str()).filter(|name| !name.is_empty()).collect();
    match request.operation {
        operation::GET => {
            caller.needs(Right::ReadRoles)?;
            let roles = wanted(&named)?;
            Ok(RoleResponse { roles, result: TRUE, error: String::new() })
        }
        operation::POST | operation::DELETE => {
            caller.needs(Right::WriteRoles)?;
            let why = format!(
                "the roles of this authority are fixed, so that {} can be neither made nor deleted",
                if named.is_empty() { "none".to_owned() } else { named.join(", ") }
            );
            Err(Refusal::new(MocCode::NotSupported, why))
        }
        other => Err(Refusal::new(MocCode::NotSupported, format!("there is no operation {other} here"))),
    }
}

/// The roles of those names, or all of them for no name.
pub(super) fn wanted(names: &[&str]) -> Result<Vec<Role>, Refusal> {
    if names.is_empty() {
        return Ok(ROLES.iter().map(|(name, rights)| on_wire(name, rights)).collect());
    }
    let found = names.iter().map(|wanted| {
        let found = ROLES.iter().find(|(name, _)| name == wanted);
        let (name, rights) =
            found.ok_or_else(|| Refusal::new(MocCode::NotFound, format!("there is no role {wanted:?}")))?;
        Ok(on_wire(name, rights))
    });
    found.collect()
}

/// A role as it came over the wire.
pub(super) fn shown(role: &Role) -> RoleInfo {
    let words = |part: fn(&Permission) -> &[Action]| {
        role.permissions.iter().flat_map(part).map(|action| in_words(*action)).collect()
    };
    RoleInfo {
        name: role.name.clone(),
        actions: words(|permission| &permission.actions),
        not_actions: words(|permission| &permission.not_actions),
    }
}

fn on_wire(name: &str, rights: &[Right]) -> Role {
    let actions = rights.iter().flat_map(|right| right.actions()).collect();
    let permission = Permission { actions, not_actions: Vec::new() };
    Role { name: name.to_owned(), id: name.to_owned(), permissions: vec![permission], status: version(1) }
}

fn in_words(action: Action) -> RoleAction {
    let word = |number: i32, words: &[(i32, &str)]| {
        let known = words.iter().find(|(known, _)| *known == number);
        known.map_or_else(|| number.to_string(), |(_, word)| (*word).to_owned())
    };
    let operation = match action.general {
        general::PROVIDER_ACTION => word(action.operation, OPERATIONS),
        _ => word(action.general, GENERAL),
    };
    RoleAction { provider: word(action.provider, PROVIDERS), operation }
}

const PROVIDERS: &[(i32, &str)] = &[
    (provider::ANY, "AnyProvider"),
    (provider::CERTIFICATE, "Certificate"),
    (provider::IDENTITY, "Identity"),
    (provider::ROLE, "Role"),
    (provider::ROLE_ASSIGNMENT, "RoleAssignment"),
    (provider::HEALTH_MONITOR, "HealthMonitor"),
];

const GENERAL: &[(i32, &str)] =
    &[(general::READ, "Read"), (general::WRITE, "Write"), (general::DELETE, "Delete"), (general::ALL, "All")];

const OPERATIONS: &[(i32, &str)] = &[
    (access::CERTIFICATE_SIGN, "Sign"),
    (access::CERTIFICATE_RENEW, "Renew"),
    (access::IDENTITY_REVOKE, "Revoke"),
    (access::IDENTITY_ROTATE, "Rotate"),
    (access::IDENTITY_CERTIFICATE_CREATE, "CreateCertificate"),
    (access::IDENTITY_CERTIFICATE_RENEW, "RenewCertificate"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_is_shown_with_words_for_all_that_it_allows() {
        for role in wanted(&[]).unwrap() {
            let shown = shown(&role);
            assert!(!shown.actions.is_empty(), "{} allows nothing", shown.name);
            for RoleAction { provider, operation } in &shown.actions {
                let known = |word: &str| word.parse::<i32>().is_err();
                assert!(known(provider) && known(operation), "{}: {provider} {operation}", shown.name);
            }
            // Public clients refuse a role with an action that says nothing.
            assert!(role.permissions[0].actions.iter().all(|action| action.general != 0));
        }
    }

    #[test]
    fn what_other_authorities_allow_beyond_it_is_shown_by_number() {
        let action = Action { provider: 20, general: general::PROVIDER_ACTION, operation: 2200 };
        assert_eq!(in_words(action).to_string(), "20 2200");
    }
}
