//! `kubecert generate`.

use jiff::Timestamp;
use kubecert_cloud::apimodel::{CrossCertificate, FreshKeys, Term, new_certificate_profile, write_artifacts};
use kubecert_engine::rundir::write_private;
use secrecy::ExposeSecret as _;

use super::target::Described;
use crate::args::GenerateArgs;
use crate::errors::{CliError, Kind};
use crate::exit::Exit;

/// The file that `rotate-certs --certificate-profile` takes.
const PROFILE: &str = "certificate-profile.json";

/// Writes a new set of certificates as the ancestor lays it out, and as a certificate profile.
pub(crate) fn run(args: &GenerateArgs) -> Result<Exit, CliError> {
    let described = Described::read(&args.cluster.api_model)?;
    let failed = |what: &'static str| move |error| CliError::because(Kind::Input, what, error);
    let made = new_certificate_profile(&described.model, Term::of_the_ancestor(Timestamp::now()), &FreshKeys)
        .map_err(|error| CliError::because(Kind::Input, "cannot make new certificates", error))?;
    let directory = &args.output_directory;
    write_artifacts(directory, &described.model, &made.profile).map_err(|error| {
        CliError::because(Kind::Input, format!("cannot write to {}", directory.display()), error)
    })?;
    let profile = directory.join(PROFILE);
    write_private(&profile, made.profile.to_json().expose_secret().as_bytes())
        .map_err(failed("cannot write the profile"))?;
    match made.cross {
        CrossCertificate::Signed(cross) => {
            let file = directory.join("ca-cross.crt");
            write_private(&file, cross.to_pem().as_bytes())
                .map_err(failed("cannot write the cross certificate"))?;
        }
        CrossCertificate::Impossible { why } => super::print(&format!("No cross certificate: {why}.\n"))?,
    }
    super::print(&format!("{}\n", profile.display()))?;
    Ok(Exit::Done)
}
