//! How PowerShell reads a command's parameters: names in any case, with one dash, as short as they are unambiguous; a value
//! behind the name or behind a colon; switches that are on by being there. What is understood is spelled as clap knows it.
//!
//! The rules are those of PowerShell's documentation (about_Parameters, about_CommonParameters, about_Parameter_Sets); the
//! sentences follow what PowerShell says in such a case.

use std::ffi::OsString;
use std::path::Path;

use super::ancestor::verb_position;
use crate::errors::{CliError, Kind};

/// A cmdlet's name and parameters.
struct Cmdlet {
    verb: &'static str,
    parameters: &'static [Parameter],
    /// What else has to fit together.
    check: fn(&Given) -> Result<(), CliError>,
}

struct Parameter {
    name: &'static str,
    aliases: &'static [&'static str],
    takes: Takes,
    /// What clap calls it; empty for what means nothing outside of PowerShell.
    flag: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Text,
}

const fn switch(name: &'static str, flag: &'static str) -> Parameter {
    Parameter { name, aliases: &[], takes: Takes::Nothing, flag }
}

const fn text(name: &'static str, flag: &'static str) -> Parameter {
    Parameter { name, aliases: &[], takes: Takes::Text, flag }
}

const fn common(
    name: &'static str,
    alias: &'static [&'static str],
    takes: Takes,
    flag: &'static str,
) -> Parameter {
    Parameter { name, aliases: alias, takes, flag }
}

/// PowerShell's own, and ours.
const COMMON: &[Parameter] = &[
    common("Verbose", &["vb"], Takes::Nothing, "--verbose"),
    common("Debug", &["db"], Takes::Nothing, "--debug"),
    common("WhatIf", &["wi"], Takes::Nothing, "--whatIf"),
    common("Confirm", &["cf"], Takes::Nothing, "--confirm"),
    common("ErrorAction", &["ea"], Takes::Text, "--errorAction"),
    common("WarningAction", &["wa"], Takes::Text, ""),
    common("InformationAction", &["infa"], Takes::Text, ""),
    common("ProgressAction", &["proga"], Takes::Text, ""),
    common("ErrorVariable", &["ev"], Takes::Text, ""),
    common("WarningVariable", &["wv"], Takes::Text, ""),
    common("InformationVariable", &["iv"], Takes::Text, ""),
    common("OutVariable", &["ov"], Takes::Text, ""),
    common("OutBuffer", &["ob"], Takes::Text, ""),
    common("PipelineVariable", &["pv"], Takes::Text, ""),
    text("Site", "--site"),
    common("Output", &["o"], Takes::Text, "--output"),
    common("Help", &["?", "h"], Takes::Nothing, "--help"),
];

const NAME: Parameter = text("Name", "--name");
const FORCE: Parameter = switch("Force", "--force");
const CLOUD: Parameter = switch("FixCloudCredentials", "--fixCloudCredentials");
const LOAD_BALANCER: Parameter = switch("PatchLoadBalancer", "--patchLoadBalancer");
const KUBELET: Parameter = switch("FixKubeletCredentials", "--fixKubeletCredentials");
const SSH_KEY: Parameter = text("SshPrivateKeyFile", "--sshPrivateKeyFile");

const CMDLETS: &[Cmdlet] = &[
    Cmdlet { verb: "Update-AksHciCertificates", parameters: &[FORCE], check: anything },
    Cmdlet {
        verb: "Update-AksHciClusterCertificates",
        parameters: &[NAME, CLOUD, LOAD_BALANCER, KUBELET, FORCE],
        check: one_layer,
    },
    Cmdlet { verb: "Repair-AksHciCerts", parameters: &[SSH_KEY], check: anything },
    Cmdlet {
        verb: "Repair-AksHciClusterCerts",
        parameters: &[NAME, CLOUD, KUBELET, SSH_KEY, FORCE],
        check: one_layer,
    },
    Cmdlet { verb: "Invoke-AksHciRotateCACertificate", parameters: &[], check: anything },
];

/// The dashes that PowerShell takes for one: a document's may have become longer on its way.
const DASHES: [char; 4] = ['-', '\u{2013}', '\u{2014}', '\u{2015}'];

/// What was given so far, as parameters' names and values.
struct Given(Vec<(&'static str, &'static str, Option<String>)>);

impl Given {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _, value)| *given == name && value.as_deref() != Some(OFF))
    }
}

/// A switch that was given as `-Name:$false`.
const OFF: &str = "$false";

/// The command line as clap knows it, if its verb is a cmdlet's name, or the program was called by one; `None` if not.
pub(super) fn translate(typed: &[OsString]) -> Result<Option<Vec<OsString>>, CliError> {
    let called = typed.first().and_then(|program| Path::new(program).file_stem()?.to_str());
    let by_link = called.and_then(cmdlet);
    let (cmdlet, before, after) = match (by_link, verb_position(typed)) {
        (Some(cmdlet), _) => (cmdlet, &typed[..1], &typed[1..]),
        (None, Some(position)) => match typed[position].to_str().and_then(cmdlet) {
            Some(cmdlet) => (cmdlet, &typed[..position], &typed[position + 1..]),
            None => return Ok(None),
        },
        (None, None) => return Ok(None),
    };
    let mut translated = before.to_vec();
    translated.push(cmdlet.verb.into());
    let (given, others) = read(cmdlet, after)?;
    if !given.has("Help") {
        (cmdlet.check)(&given)?;
    }
    for (_, flag, value) in given.0 {
        match value.as_deref() {
            Some(OFF) => {}
            Some(value) => translated.push(format!("{flag}={value}").into()),
            None => translated.push(flag.into()),
        }
    }
    translated.extend(others);
    Ok(Some(translated))
}

/// What the operator should know: names that the vendor has replaced.
pub(super) fn notices(typed: &[OsString]) -> Vec<String> {
    let deprecated = |verb: &str| match verb {
        "Repair-AksHciCerts" => Some("Update-AksHciCertificates"),
        "Repair-AksHciClusterCerts" => Some("Update-AksHciClusterCertificates"),
        _ => None,
    };
    let verb = typed.iter().filter_map(|word| word.to_str()).find_map(|word| Some((word, deprecated(word)?)));
    verb.map(|(old, new)| format!("{old} is deprecated; {new} does the same.")).into_iter().collect()
}

fn cmdlet(word: &str) -> Option<&'static Cmdlet> {
    CMDLETS.iter().find(|cmdlet| cmdlet.verb.eq_ignore_ascii_case(word))
}

/// Reads parameters; what is ours alone and begins with two dashes is left for clap.
fn read(cmdlet: &'static Cmdlet, words: &[OsString]) -> Result<(Given, Vec<OsString>), CliError> {
    let (mut given, mut others) = (Given(Vec::new()), Vec::new());
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else {
            return Err(wrong(cmdlet, format!("the argument {word:?} is not text")));
        };
        let Some(name) = parameter_name(text) else {
            return Err(wrong(
                cmdlet,
                format!("a positional parameter cannot be found that accepts argument '{text}'"),
            ));
        };
        let long = text.starts_with("--");
        let (name, attached) = match name.split_once([':', '=']) {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let parameter = match find(cmdlet, name) {
            Ok(parameter) => parameter,
            Err(_) if long => {
                others.push(word.clone());
                // `--color never`: what follows is the value.
                if attached.is_none() && name.eq_ignore_ascii_case("color") {
                    others.extend(words.next().cloned());
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        // `-Name: value` is allowed, too.
        let attached = match attached {
            Some("") => words.next().and_then(|value| value.to_str()).map(str::to_owned),
            Some(value) => Some(value.to_owned()),
            None => None,
        };
        let value = match (parameter.takes, attached) {
            (Takes::Nothing, None) => None,
            (Takes::Nothing, Some(value)) => switch_value(cmdlet, parameter, &value)?,
            (Takes::Text, Some(value)) => Some(value),
            (Takes::Text, None) => {
                let next =
                    words.next_if(|next| next.to_str().is_some_and(|next| parameter_name(next).is_none()));
                Some(
                    next.and_then(|value| value.to_str())
                        .map(str::to_owned)
                        .ok_or_else(|| missing(cmdlet, parameter))?,
                )
            }
        };
        if value.as_deref() == Some("") {
            let said = format!(
                "cannot bind argument to parameter '{}' because it is an empty string",
                parameter.name
            );
            return Err(wrong(cmdlet, said));
        }
        if given.0.iter().any(|(name, ..)| *name == parameter.name) {
            let said = format!(
                "cannot bind parameter because parameter '{}' is specified more than once",
                parameter.name
            );
            return Err(wrong(cmdlet, said));
        }
        if parameter.flag.is_empty() {
            means_something(cmdlet, parameter)?;
            continue;
        }
        given.0.push((parameter.name, parameter.flag, value));
    }
    if cmdlet.parameters.iter().any(|parameter| parameter.name == "Name")
        && !given.has("Name")
        && !given.has("Help")
    {
        return Err(wrong(cmdlet, "one or more mandatory parameters are missing: Name".to_owned()));
    }
    Ok((given, others))
}

/// A parameter's name and what is attached to it, if the word is one. A number is a value.
fn parameter_name(word: &str) -> Option<&str> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix(DASHES))?;
    name.chars().next().filter(|first| first.is_alphabetic() || *first == '?' || *first == '_')?;
    Some(name)
}

/// The parameter that is meant: its name or alias, or the beginning of one name only.
fn find(cmdlet: &'static Cmdlet, name: &str) -> Result<&'static Parameter, CliError> {
    let all = || cmdlet.parameters.iter().chain(COMMON);
    let exact = |parameter: &&Parameter| {
        std::iter::once(&parameter.name)
            .chain(parameter.aliases)
            .any(|known| known.eq_ignore_ascii_case(name))
    };
    if let Some(parameter) = all().find(exact) {
        return Ok(parameter);
    }
    let begins = |known: &str| known.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let meant: Vec<_> = all().filter(|parameter| begins(parameter.name)).collect();
    match meant.as_slice() {
        [one] => Ok(one),
        [] => Err(wrong(cmdlet, format!("a parameter cannot be found that matches parameter name '{name}'"))),
        several => {
            let names: Vec<String> = several.iter().map(|parameter| format!("-{}", parameter.name)).collect();
            let said = format!(
                "parameter cannot be processed because the parameter name '{name}' is ambiguous; possible matches include {}",
                names.join(" ")
            );
            Err(wrong(cmdlet, said))
        }
    }
}

/// What `-Switch:VALUE` means; shells other than PowerShell may hand on the dollar sign, or have taken it for theirs.
fn switch_value(cmdlet: &Cmdlet, parameter: &Parameter, value: &str) -> Result<Option<String>, CliError> {
    match value.trim_start_matches('$').to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(None),
        "false" | "0" => Ok(Some(OFF.to_owned())),
        _ => Err(wrong(
            cmdlet,
            format!(
                "cannot convert '{value}' to the type that switch parameter '{}' needs: $true or $false",
                parameter.name
            ),
        )),
    }
}

/// Actions are accepted, since leaving them out changes nothing here; variables would stay empty, so they are refused.
fn means_something(cmdlet: &Cmdlet, parameter: &Parameter) -> Result<(), CliError> {
    if parameter.name.ends_with("Action") {
        return Ok(());
    }
    Err(wrong(cmdlet, format!("parameter '{}' has a meaning inside of PowerShell only", parameter.name))
        .hint("Call the cmdlet of the module packaging/powershell, which hands everything else on to this program."))
}

fn anything(_given: &Given) -> Result<(), CliError> {
    Ok(())
}

/// The two layers of a cluster are two parameter sets.
fn one_layer(given: &Given) -> Result<(), CliError> {
    let why = match (given.has("FixCloudCredentials"), given.has("FixKubeletCredentials")) {
        (true, true) => {
            "-FixCloudCredentials and -FixKubeletCredentials exclude each other: one call renews one layer"
        }
        (false, false) => "one of -FixCloudCredentials and -FixKubeletCredentials must be given",
        (false, true) if given.has("PatchLoadBalancer") => {
            "-PatchLoadBalancer goes with -FixCloudCredentials only"
        }
        _ => return Ok(()),
    };
    let said = format!("parameter set cannot be resolved using the specified named parameters: {why}");
    Err(CliError::new(Kind::Usage, said)
        .hint("Where both layers are hit: first -FixKubeletCredentials, then -FixCloudCredentials -PatchLoadBalancer."))
}

fn missing(cmdlet: &Cmdlet, parameter: &Parameter) -> CliError {
    wrong(cmdlet, format!("missing an argument for parameter '{}'", parameter.name))
}

fn wrong(cmdlet: &Cmdlet, said: String) -> CliError {
    CliError::new(Kind::Usage, format!("{}: {said}", cmdlet.verb))
        .hint(format!("`kubecert {} -?` shows its parameters.", cmdlet.verb))
}

#[cfg(test)]
#[path = "cmdlets_tests.rs"]
mod tests;
