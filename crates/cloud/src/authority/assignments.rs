//! Who has which role, as far as identities and certificates need it. See `rights.rs` for what is assumed.

use super::code::{MocCode, Refusal};
use super::document::{Assignment as Record, Document};
use super::live::new_id;
use super::rights::{self, Right};
use super::service::{Call, version};
use super::wire::{Assignment, AssignmentRequest, AssignmentResponse, Scope, TRUE, operation, provider};

/// `RoleAssignmentAgent/Invoke`: who has which role.
pub(super) fn assignments(call: &Call, request: AssignmentRequest) -> Result<AssignmentResponse, Refusal> {
    let assignments = match request.operation {
        operation::GET => {
            let (live, now) = (call.live()?, call.authority.now());
            call.caller(&live, now)?.needs(Right::ReadRoles)?;
            let all = live.document.assignments.iter();
            let wanted = |record: &&Record| {
                let mut asked = request.assignments.iter().filter(|asked| !asked.name.is_empty()).peekable();
                asked.peek().is_none() || asked.any(|asked| asked.name == record.name)
            };
            all.filter(wanted).map(shown).collect()
        }
        operation::POST => call.change(|document, _, caller, _| {
            caller.needs(Right::WriteRoles)?;
            let assign = request.assignments.iter().map(|asked| {
                caller.needs_all(&rights::of_role(&asked.role)?)?;
                whole_site(document, asked)?;
                assign(document, &asked.name, &asked.role, &asked.identity).map(|record| shown(&record))
            });
            assign.collect::<Result<Vec<_>, Refusal>>()
        })?,
        operation::DELETE => call.change(|document, _, caller, _| {
            caller.needs(Right::WriteRoles)?;
            for asked in &request.assignments {
                let before = document.assignments.len();
                document.assignments.retain(|record| record.name != asked.name);
                if document.assignments.len() == before {
                    let message = format!("there is no role assignment {:?}", asked.name);
                    return Err(Refusal::new(MocCode::NotFound, message));
                }
            }
            Ok(Vec::new())
        })?,
        other => {
            let message = format!("there is no operation {other} here");
            return Err(Refusal::new(MocCode::NotSupported, message));
        }
    };
    Ok(AssignmentResponse { assignments, result: TRUE, error: String::new() })
}

/// Gives an identity a role, under a name, or one that is made up from both.
pub(super) fn assign(
    document: &mut Document,
    name: &str,
    role: &str,
    identity: &str,
) -> Result<Record, Refusal> {
    rights::of_role(role)?;
    document.identity(identity)?.not_revoked(identity)?;
    let name = if name.is_empty() { format!("{identity}-{role}") } else { name.to_owned() };
    if document.assignments.iter().any(|record| record.name == name) {
        let message = format!("there is a role assignment {name:?} already");
        return Err(Refusal::new(MocCode::AlreadyExists, message));
    }
    let id = new_id().map_err(|cause| Refusal::new(MocCode::Failed, cause))?;
    let record = Record { name, id, role: role.to_owned(), identity: identity.to_owned() };
    document.assignments.push(record.clone());
    Ok(record)
}

/// A role that was meant for a part must not be given for everything.
fn whole_site(document: &Document, asked: &Assignment) -> Result<(), Refusal> {
    let Some(Scope { location, resource_group, provider, resource }) = &asked.scope else { return Ok(()) };
    let here = location.is_empty() || *location == document.location;
    if here && resource_group.is_empty() && *provider == provider::ANY && resource.is_empty() {
        return Ok(());
    }
    let why = format!(
        "role {} cannot be given to {} for a part of the site: here, an assignment holds for all of it",
        asked.role, asked.identity
    );
    Err(Refusal::new(MocCode::NotSupported, why))
}

fn shown(record: &Record) -> Assignment {
    Assignment {
        name: record.name.clone(),
        id: record.id.clone(),
        role: record.role.clone(),
        identity: record.identity.clone(),
        scope: None,
        status: version(1),
    }
}
