//! What is typed and what comes of it.

use clap::Parser as _;
use secrecy::ExposeSecret as _;

use super::ancestor::Ancestor;
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
    append_verbs(&mut reference, &mut command, "kubecert");
    insta::assert_snapshot!("cli-reference", reference);
}

/// The help of each verb, and of those below it.
fn append_verbs(reference: &mut String, command: &mut clap::Command, path: &str) {
    for verb in command.get_subcommands_mut() {
        let path = format!("{path} {}", verb.get_name());
        reference.push_str(&format!("\n==== {path} ====\n\n"));
        reference.push_str(&verb.render_help().to_string());
        append_verbs(reference, verb, &path);
    }
}

#[test]
fn rotate_certs_has_the_ancestors_defaults() {
    let args = rotate_certs(LONG);
    assert_eq!(args.azure_env, AzureEnvironment::AzurePublicCloud);
    assert_eq!(args.identity_system, IdentitySystem::AzureAd);
    assert_eq!(args.language, "en-us");
    assert_eq!((args.force, args.ssh_port, &args.certificate_profile), (false, None, &None));
    assert_eq!(args.azure("1.34.4").unwrap(), None, "nothing about it was given");
}

const ID: &str = "3f2c8d5e-6a1b-4c0d-9e7f-1a2b3c4d5e6f";

/// The method that a command line comes to, for a cluster of some version.
#[track_caller]
fn method(program: &str, more: &str, version: &str) -> Result<AuthMethod, String> {
    let args = rotate_certs(&format!("{} -s {ID} {more}", LONG.replacen("kubecert", program, 1)));
    match args.azure(version) {
        Ok(Some(method)) => Ok(method),
        Ok(None) => panic!("{more}"),
        Err(error) => Err(error.error.to_string()),
    }
}

#[test]
fn each_generation_has_its_own_way_to_azure() {
    assert_eq!(method("kubecert", "", "1.24.17"), Ok(AuthMethod::Cli));
    assert_eq!(method("/usr/bin/aks-engine", "", "1.34.4"), Ok(AuthMethod::Cli));
    for (program, version) in [("kubecert", "1.33.10"), ("./aks-engine-azurestack", "1.24.9")] {
        let error = method(program, "", version).unwrap_err();
        assert!(error.contains("client_secret, which is the default here"), "{error}");
        let given = format!("--client-id {ID} --client-secret s");
        assert_eq!(method(program, &given, version), Ok(AuthMethod::ClientSecret));
        assert_eq!(method(program, "--auth-method cli", version), Ok(AuthMethod::Cli));
    }
    assert_eq!(
        method("kubecert", &format!("--client-id {ID} --client-secret s"), "1.24.17"),
        Ok(AuthMethod::ClientSecret)
    );
    assert_eq!(method("kubecert", "--auth-method device", "1.34.4"), Ok(AuthMethod::Device));
    assert_eq!(Ancestor::of_version("nonsense"), Ancestor::AksEngine);
}

#[test]
fn what_is_about_azure_is_judged_in_the_ancestors_order() {
    let certificate = format!("--auth-method client_certificate --client-id {ID}");
    for (more, expected) in [
        ("--auth-method client_secret --client-id x --identity-system adfs", "--client-id must be a UUID"),
        ("--auth-method client_secret", "--client-id must be a UUID"),
        (&format!("--auth-method client_secret --client-id {ID}"), "--client-secret, or AZURE_CLIENT_SECRET"),
        (&certificate, "--certificate-path and --private-key-path"),
        (&format!("{certificate} --certificate-path c"), "--certificate-path and --private-key-path"),
        (
            "--auth-method cli --azure-env AzureStackCloud",
            "--auth-method cli does not work on Azure Stack Hub",
        ),
        ("--auth-method device --azure-env azurestackcloud", "--auth-method device does not work"),
    ] {
        let error = method("kubecert", more, "1.24.17").expect_err(more);
        assert!(error.starts_with(expected), "{more}: {error}");
    }
    let stack = format!(
        "{certificate} --certificate-path c --private-key-path k --azure-env AzureStackCloud --identity-system adfs"
    );
    assert_eq!(method("kubecert", &stack, "1.34.4"), Ok(AuthMethod::ClientCertificate));
    for (flag, value) in [("--auth-method", "password"), ("--identity-system", "ldap"), ("--auth-method", "")]
    {
        let words = LONG.split_whitespace().map(OsString::from).chain([flag.into(), value.into()]);
        assert!(matches!(parse_from(words), Err(NotRun::Clap { exit: Exit::Failed, .. })), "{flag} {value}");
    }
}

#[test]
fn a_key_is_in_a_file_or_with_an_agent() {
    use super::common::KeySource;
    let without = LONG.replace(" --linux-ssh-private-key id_rsa", "");
    assert!(refused(&without).0.contains("--linux-ssh-private-key"));
    assert!(rotate_certs(&format!("{without} --ssh-agent")).key.ssh_agent);
    assert!(!rotate_certs(&format!("{LONG} --ssh-agent=false")).key.ssh_agent);
    for wrong in [
        format!("{LONG} --ssh-agent"),
        format!("{without} --ssh-agent --passphrase-fd 3"),
        format!("{LONG} --passphrase-fd x"),
    ] {
        assert_eq!(refused(&wrong).1, 1, "{wrong}");
    }
    let file = rotate_certs(&format!("{LONG} --passphrase-fd 3")).key.source().unwrap();
    assert_eq!(file, KeySource::File { path: "id_rsa".into(), passphrase_fd: Some(3) });
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
    assert_eq!((usual.why(), usual.scope(), usual.renew_within), (Why::ReplaceCa, Scope::All, None));
    for why in [Why::Renew, Why::ExtendCa, Why::ReplaceCa, Why::Compromised] {
        assert_eq!(plan(&format!("--why {why}")).why(), why);
    }
    for scope in [Scope::All, Scope::ClusterCa, Scope::EtcdCa, Scope::FrontProxy] {
        assert_eq!(plan(&format!("--scope {scope}")).scope(), scope);
    }
    assert_eq!(plan("--why renew --renew-within 90").renew_within, Some(90));
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
    let validate = |location: &str, host: &str, model: &str, key: &str, more: &[&str]| {
        let base = ["kubecert", "rotate-certs", "-l", location, "-g", "lab", "-m", model, "--ssh-host", host];
        let key = ["--linux-ssh-private-key", key];
        let words = base.iter().chain(&key).chain(more);
        match Cli::parse_from(words).verb {
            Verb::RotateCerts(args) => args.validate(),
            verb => panic!("{verb:?}"),
        }
    };
    for (typed, host) in [("West US 2", "10.0.0.4"), (" westus2", " ::1 ")] {
        let good = validate(typed, host, &model, &key, &[]).unwrap();
        assert_eq!((good.location.as_str(), good.ssh_host.as_str()), ("westus2", host.trim()));
    }
    // Each line has all the mistakes of those below it, too: the first rule in the ancestor's order is the one told.
    let nothing = "/none";
    let profile = ["--certificate-profile", nothing];
    let here = directory.path().display().to_string();
    for (location, host, key, model, expected) in [
        (" ", "", nothing, nothing, "--location is empty"),
        ("local", "", nothing, nothing, "--ssh-host is empty"),
        ("local", "h:22", nothing, nothing, "--ssh-host h:22 names a port"),
        ("local", "[::1]", nothing, nothing, "--ssh-host [::1] names a port"),
        ("local", "h", nothing, nothing, "--linux-ssh-private-key: /none does not exist"),
        ("local", "h", &here, nothing, "--linux-ssh-private-key: "),
        ("local", "h", &key, nothing, "--api-model: /none does not exist"),
        ("local", "h", &key, &model, "--certificate-profile: /none does not exist"),
    ] {
        let error = validate(location, host, model, key, &profile).unwrap_err().error.to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    // What stands in the place of the directory for the new files; and nothing is left there by having looked.
    let names = || std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(names(), 2);
    file("_rotate_certs_output");
    let error = validate("local", "h", &model, &key, &[]).unwrap_err().error.to_string();
    assert!(error.starts_with("cannot keep the new certificates in "), "{error}");
}
