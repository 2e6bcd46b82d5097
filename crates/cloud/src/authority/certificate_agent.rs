//! Certificates that are nobody's: those of servers, such as load balancers' agents.
//!
//! The authority keeps none of them and no key: it signs what a request is for, and whoever has made the key keeps both.

use jiff::SignedDuration;

use super::agent::ca_is_good;
use super::ca::{Purpose, holder_id};
use super::code::{MocCode, Refusal};
use super::document::check_name;
use super::rights::Right;
use super::service::{Call, checked, on_wire, renewed, signed};
use super::wire::{
    Certificate, CertificateRequest, CertificateResponse, PrecheckResponse, SigningRequests, certificate_type,
};

/// `CertificateAgent/Sign`. Assumed: what is signed is nobody's, and good for servers.
pub(super) fn sign(call: &Call, request: SigningRequests) -> Result<CertificateResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    call.caller(&live, now)?.needs(Right::Sign)?;
    let longest = live.document.lifetimes.certificate_s;
    signed(request.requests.iter().map(|asked| {
        if asked.is_ca.is_some_and(|is_ca| is_ca.value) {
            return Err(Refusal::new(MocCode::NotSupported, "this authority makes no other authorities"));
        }
        // The field's unit is not public. Assumed: seconds, and no more than our own certificates have.
        let lasts = if asked.validity > 0 { asked.validity.min(longest) } else { longest };
        let new = live.ca(now).first(&asked.csr, Purpose::Server, SignedDuration::from_secs(lasts))?;
        Ok(on_wire(&asked.name, &new))
    }))
}

/// `CertificateAgent/Renew`. Assumed: of certificates that are nobody's, by those who may have them signed.
pub(super) fn renew(call: &Call, request: SigningRequests) -> Result<CertificateResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    call.caller(&live, now)?.needs(Right::Sign)?;
    signed(request.requests.iter().map(|asked| {
        let (new, old) = renewed(&live, now, asked)?;
        if holder_id(&old).is_some() {
            let why = "an identity's certificate is renewed by that identity";
            return Err(Refusal::new(MocCode::AccessDenied, why));
        }
        Ok(on_wire(&asked.name, &new))
    }))
}

/// `CertificateAgent/Precheck`: whether these could be had. Assumed: by `Sign`, since nothing else makes one here.
pub(super) fn precheck(call: &Call, request: CertificateRequest) -> Result<PrecheckResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    call.caller(&live, now)?.needs(Right::Sign)?;
    let possible = ca_is_good(&live, now).and_then(|()| {
        if request.certificates.is_empty() {
            return Err(Refusal::new(MocCode::InvalidInput, "there is no certificate to be checked"));
        }
        request.certificates.iter().try_for_each(possible)
    });
    Ok(checked(possible))
}

fn possible(wanted: &Certificate) -> Result<(), Refusal> {
    check_name(&wanted.name)?;
    match wanted.certificate_type {
        certificate_type::SERVER => Ok(()),
        certificate_type::CLIENT => {
            let why = format!(
                "{} would be a client's certificate, and those are their identities': IdentityAgent has them",
                wanted.name
            );
            Err(Refusal::new(MocCode::NotSupported, why))
        }
        other => {
            let why = format!("{} is of type {other}, and there is no such type", wanted.name);
            Err(Refusal::new(MocCode::InvalidInput, why))
        }
    }
}

/// `CertificateAgent/CreateOrUpdate`: the request holds a name and a type, and neither a key nor a signing request. Whose key the
/// vendor's agent certifies then is not public.
pub(super) fn create(call: &Call, request: CertificateRequest) -> Result<CertificateResponse, Refusal> {
    not_kept(
        call,
        &request,
        "makes no keys for others; have a signing request signed (CertificateAgent/Sign)",
    )
}

/// `CertificateAgent/Get`.
pub(super) fn get(call: &Call, request: CertificateRequest) -> Result<CertificateResponse, Refusal> {
    not_kept(call, &request, "keeps no certificates that it has signed; who has had them signed has them")
}

/// `CertificateAgent/Delete`.
pub(super) fn delete(call: &Call, request: CertificateRequest) -> Result<CertificateResponse, Refusal> {
    not_kept(call, &request, "keeps no certificates that it has signed, so that there is none to be deleted")
}

/// A refusal for whoever might do it elsewhere.
fn not_kept(call: &Call, request: &CertificateRequest, why: &str) -> Result<CertificateResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    call.caller(&live, now)?.needs(Right::Sign)?;
    let names: Vec<&str> = request.certificates.iter().map(|wanted| wanted.name.as_str()).collect();
    let message = format!("certificate {:?}: this authority {why}", names.join(", "));
    Err(Refusal::new(MocCode::NotSupported, message))
}
