//! What is typed and what comes of it.

use clap::Parser as _;
use secrecy::ExposeSecret as _;

use super::rotate_certs::{AuthMethod, AzureEnvironment, IdentitySystem};
use super::*;

/// Parses words that are separated by spaces.
fn parse_words(line: &str) -> Result<Parsed, NotRun> {
    parse_from(line.split_whitespace().map(OsString::from))
}

/// The message and the exit code of a command line that does not run.
#[track_caller]
fn refused(line: &str) -> (String, u8) {
    match parse_words(line).expect_err(line) {
        NotRun::Clap { error, exit } => (error.render().to_string(), exit.code()),
        NotRun::Other { error, exit } => (error.text(crate::human::paint::Paint::PLAIN), exit.code()),
    }
}

#[track_caller]
fn rotate_certs(line: &str) -> RotateCertsArgs {
    match parse_words(line).expect(line).cli.verb {
        Verb::RotateCerts(args) => *args,
        verb => panic!("{verb:?}"),
    }
}

const LONG: &str = "kubecert rotate-certs --location westus2 --resource-group lab --api-model apimodel.json \
                    --ssh-host lab.example.com --linux-ssh-private-key id_rsa";
const SHORT: &str = "kubecert rotate-certs -l westus2 -g lab -m apimodel.json -s 3f2c8d5e-6a1b-4c0d-9e7f-1a2b3c4d5e6f \
                     --ssh-host lab.example.com --linux-ssh-private-key id_rsa";

#[test]
fn the_declarations_are_consistent() {
    command().debug_assert();
}

#[test]
fn the_reference_is_what_help_says() {
    let mut reference = String::new();
    // Without the environment, which would show in the help, and as wide as the reference is printed.
    let mut command = command().term_width(100).disable_help_subcommand(true);
    command.build();
    reference.push_str(&command.render_help().to_string());
    for verb in command.get_subcommands_mut() {
        reference.push_str(&format!("\n==== kubecert {} ====\n\n", verb.get_name()));
        reference.push_str(&verb.render_help().to_string());
    }
    insta::assert_snapshot!("cli-reference", reference);
}

#[test]
fn rotate_certs_has_the_ancestors_defaults() {
    let args = rotate_certs(LONG);
    assert_eq!(args.azure_env, AzureEnvironment::AzurePublicCloud);
    assert_eq!(args.auth_method, AuthMethod::Cli);
    assert_eq!(args.identity_system, IdentitySystem::AzureAd);
    assert_eq!(args.language, "en-us");
    assert_eq!((args.force, args.ssh_port, args.certificate_profile), (false, None, None));
}

#[test]
fn rotate_certs_has_the_ancestors_short_forms() {
    let args = rotate_certs(SHORT);
    assert_eq!((args.location.as_str(), args.resource_group.as_str()), ("westus2", "lab"));
    assert_eq!(args.api_model.to_str(), Some("apimodel.json"));
    assert_eq!(args.subscription_id.as_deref(), Some("3f2c8d5e-6a1b-4c0d-9e7f-1a2b3c4d5e6f"));
    let attached = rotate_certs(&SHORT.replace("-l westus2", "-lwestus2").replace("-g lab", "-g=lab"));
    assert_eq!((attached.location.as_str(), attached.resource_group.as_str()), ("westus2", "lab"));
}

#[test]
fn rotate_certs_takes_switches_as_go_does() {
    for (typed, force) in
        [("--force", true), ("--force=true", true), ("--force=false", false), ("--force=1", true)]
    {
        assert_eq!(rotate_certs(&format!("{LONG} {typed}")).force, force, "{typed}");
    }
    assert!(parse_words(&format!("{LONG} --debug=true")).expect(LONG).cli.global.debug);
}

#[test]
fn rotate_certs_takes_clouds_in_any_case() {
    for (typed, cloud) in [
        ("azurestackcloud", AzureEnvironment::AzureStackCloud),
        ("AzureUSGovernmentCloud", AzureEnvironment::AzureUsGovernmentCloud),
        ("AZURECHINACLOUD", AzureEnvironment::AzureChinaCloud),
    ] {
        assert_eq!(rotate_certs(&format!("{LONG} --azure-env {typed}")).azure_env, cloud);
    }
    assert_eq!(refused(&format!("{LONG} --azure-env Elsewhere")).1, 1);
}

#[test]
fn rotate_certs_names_all_that_is_missing_at_once() {
    let (message, exit) = refused("kubecert rotate-certs --location westus2");
    for flag in ["--resource-group", "--api-model", "--ssh-host", "--linux-ssh-private-key"] {
        assert!(message.contains(flag), "{flag}: {message}");
    }
    let missing = message.split("Usage").next().unwrap_or_default();
    assert!(!missing.contains("--location"), "{message}");
    assert_eq!(exit, 1);
}

#[test]
fn retired_flags_are_answered_with_what_stands_for_them() {
    for (flag, instead) in [
        ("--ssh key", "--linux-ssh-private-key"),
        ("--apiserver=lab.example.com", "--ssh-host"),
        ("--master-FQDN lab.example.com", "--ssh-host"),
        ("--output-directory _output", "--api-model"),
    ] {
        let (message, exit) = refused(&format!("kubecert --debug -o text rotate-certs {flag}"));
        assert!(message.contains(instead), "{message}");
        assert_eq!(exit, 1);
    }
}

#[test]
fn usage_errors_are_two_except_for_the_ancestors_verb() {
    for (line, exit) in [
        ("kubecert", 2),
        ("kubecert check", 2),
        ("kubecert rotat", 2),
        ("kubecert report rotate-certs --no-such-flag", 2),
        ("kubecert rotate-certs --no-such-flag", 1),
        ("kubecert --color never rotate-certs", 1),
        ("kubecert rotate-certs --help", 0),
        ("kubecert --version", 0),
    ] {
        assert_eq!(refused(line).1, exit, "{line}");
    }
}

#[test]
fn a_plan_file_decides_why_and_how() {
    let rotate = "kubecert rotate -m a.json --ssh-host h --linux-ssh-private-key k --plan p.json";
    assert!(parse_words(rotate).is_ok());
    for other in ["--why renew", "--scope front-proxy", "--renew-within 90", "--strategy bundled"] {
        assert_eq!(refused(&format!("{rotate} {other}")).1, 2, "{other}");
    }
}

#[test]
fn why_and_scope_are_typed_as_they_are_told() {
    use kubecert_core::intent::{Scope, Why};
    let plan = |more: &str| {
        let line = format!("kubecert plan -m a.json --ssh-host h --linux-ssh-private-key k {more}");
        match parse_words(&line).expect(&line).cli.verb {
            Verb::Plan(args) => args.how,
            verb => panic!("{verb:?}"),
        }
    };
    let usual = plan("");
    assert_eq!((usual.why(), usual.scope(), usual.renew_within), (Why::ReplaceCa, Scope::All, 30));
    for why in [Why::Renew, Why::ExtendCa, Why::ReplaceCa, Why::Compromised] {
        assert_eq!(plan(&format!("--why {why}")).why(), why);
    }
    for scope in [Scope::All, Scope::ClusterCa, Scope::EtcdCa, Scope::FrontProxy] {
        assert_eq!(plan(&format!("--scope {scope}")).scope(), scope);
    }
    assert_eq!(plan("--why renew --renew-within 90").renew_within, 90);
    let line = "kubecert plan -m a.json --ssh-host h --linux-ssh-private-key k --renew-within";
    assert_eq!(refused(&format!("{line} 40000")).1, 2);
}

#[test]
fn the_client_secret_is_never_shown() {
    let line = format!("{LONG} --client-secret hunter2 --client-id 3f2c8d5e-6a1b-4c0d-9e7f-1a2b3c4d5e6f");
    let parsed = parse_words(&line).expect(LONG);
    assert!(!format!("{parsed:?}").contains("hunter2"));
    assert_eq!(parsed.notices.len(), 1);
    assert!(!parsed.notices[0].contains("hunter2"));
    let args = rotate_certs(&line);
    assert_eq!(args.client_secret.as_ref().map(|secret| secret.expose_secret()), Some("hunter2"));
    // A secret may begin with a dash, and may stand beside a mistake.
    let (message, _) = refused("kubecert rotate-certs --client-secret --hunter2 --no-such-flag");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn validation_follows_the_ancestors_rules() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, "").unwrap();
        path.display().to_string()
    };
    let (model, key) = (file("apimodel.json"), file("id_rsa"));
    let validate = |location: &str, host: &str, more: &[&str]| {
        let base =
            ["kubecert", "rotate-certs", "-l", location, "-g", "lab", "-m", &model, "--ssh-host", host];
        let key = ["--linux-ssh-private-key", key.as_str()];
        let words = base.iter().chain(&key).chain(more);
        match Cli::parse_from(words).verb {
            Verb::RotateCerts(args) => {
                args.validate().map(|validated| (validated, args.meant_auth_method().unwrap()))
            }
            verb => panic!("{verb:?}"),
        }
    };
    let good = validate("West US 2", "10.0.0.4", &[]).unwrap();
    assert_eq!(
        (good.0.location.as_str(), good.0.ssh_host.as_str(), good.1),
        ("westus2", "10.0.0.4", AuthMethod::Cli)
    );
    let id = "3f2c8d5e-6a1b-4c0d-9e7f-1a2b3c4d5e6f";
    let both = validate("local", "::1", &["--client-id", id, "--client-secret", "s"]).unwrap();
    assert_eq!(both.1, AuthMethod::ClientSecret);
    for (location, host, more, expected) in [
        (" ", "h", &[][..], "--location is empty"),
        ("local", "", &[], "--ssh-host is empty"),
        ("local", "h:22", &[], "--ssh-host h:22 names a port"),
        ("local", "h", &["--certificate-profile", "/none"], "--certificate-profile: /none does not exist"),
        ("local", "h", &["--auth-method", "client_secret", "--client-id", "x"], "--client-id must be a UUID"),
        ("local", "h", &["--auth-method", "client_certificate", "--client-id", id], "--certificate-path and"),
    ] {
        let error = validate(location, host, more).unwrap_err().error.to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
