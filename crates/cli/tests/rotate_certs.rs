//! `rotate-certs` with input that cannot be used: refused before anything is touched, with the exit code of the ancestor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kubecert_cloud::apimodel::{ApiModel, Entry, Term, new_certificate_profile, write_artifacts};
use kubecert_pki::{KeyAlgorithm, PrivateKey};
use serde_json::{Value, json};

/// A directory with a model that has a PKI, and a private key.
struct Bed {
    directory: tempfile::TempDir,
}

const ID: &str = "3f2c8d5e-6a1b-4c0d-9e7f-1a2b3c4d5e6f";

fn kubecert(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubecert"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("AZURE_CLIENT_SECRET")
        .env_remove("SSH_AUTH_SOCK");
    command
}

impl Bed {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let bed = Self { directory };
        let model: Value = serde_json::from_slice(&fs::read(pki().join("apimodel.json")).expect("a model"))
            .expect("it is JSON");
        bed.write_model(&model);
        fs::copy(pki().join("id"), bed.path("id")).expect("a key");
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a name").to_owned()
    }

    fn model(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("apimodel.json")).expect("a model")).expect("it is JSON")
    }

    fn write_model(&self, model: &Value) {
        fs::write(self.path("apimodel.json"), model.to_string()).expect("a place");
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.directory.path())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The everyday call, with what comes on top; the SSH host is a port of this machine that nobody listens on.
    fn run(&self, more: &[&str]) -> Output {
        let (model, key) = (self.text("apimodel.json"), self.text("id"));
        let base = ["rotate-certs", "--location", "local", "--resource-group", "lab", "--api-model", &model];
        let ssh = ["--ssh-host", "127.0.0.1", "--ssh-port", "1", "--linux-ssh-private-key", &key];
        let mut words: Vec<&str> = base.iter().chain(&ssh).copied().collect();
        for pair in more.chunks(2) {
            // What is given again takes the place of what stands there.
            match words.iter().position(|word| *word == pair[0]) {
                Some(at) if pair.len() == 2 => words[at + 1] = pair[1],
                _ => words.extend(pair),
            }
        }
        let state = self.text("state");
        kubecert(&words)
            .env("KUBECERT_STATE_DIR", state)
            .env("HOME", self.directory.path())
            .output()
            .expect("it starts")
    }

    /// Refused with these words, exit code 1, and no file made or changed.
    #[track_caller]
    fn is_refused(&self, more: &[&str], words: &[&str]) {
        let (before, model) = (self.names(), self.model());
        let output = self.run(more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!((self.names(), self.model()), (before, model));
    }

    /// The same with a model that was changed.
    #[track_caller]
    fn is_refused_with(&self, change: impl FnOnce(&mut Value), words: &[&str]) {
        let whole = self.model();
        let mut changed = whole.clone();
        change(&mut changed);
        self.write_model(&changed);
        self.is_refused(&[], words);
        self.write_model(&whole);
    }

    /// The same with a certificate profile.
    #[track_caller]
    fn is_refused_with_profile(&self, profile: &str, words: &[&str]) {
        fs::write(self.path("profile.json"), profile).expect("a place");
        self.is_refused(&["--certificate-profile", &self.text("profile.json")], words);
        fs::remove_file(self.path("profile.json")).expect("it is there");
    }
}

/// Two PKIs for the example, on elliptic curves, which take no time, and a key; made once for all tests of this process.
fn pki() -> &'static Path {
    static MADE: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let example =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/aks-engine-3m-2l/apimodel.json");
        let mut model = ApiModel::parse(&fs::read(example).expect("an example")).expect("a model");
        let curve = |_: Entry, _: KeyAlgorithm| PrivateKey::generate(KeyAlgorithm::EcdsaP256);
        for way in [directory.path().to_owned(), directory.path().join("other")] {
            let term = Term::of_the_ancestor(jiff::Timestamp::now());
            let made = new_certificate_profile(&model, term, &curve).expect("a PKI");
            write_artifacts(&way, &model, &made.profile).expect("a place");
            model = ApiModel::parse(&model.rewrite_certificate_profile(&made.profile)).expect("a model");
        }
        let key = directory.path().join("id");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key).status();
        assert!(made.expect("ssh-keygen starts").success());
        directory
    })
    .path()
}

fn profile_of(model: &Path) -> Value {
    let model: Value = serde_json::from_slice(&fs::read(model).expect("a model")).expect("it is JSON");
    model["properties"]["certificateProfile"].clone()
}

#[test]
fn what_is_fit_goes_on_to_the_ssh_host() {
    let bed = Bed::new();
    let output = bed.run(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("127.0.0.1"), "{said}");
    assert!(!bed.path("_rotate_certs_output").exists() && !bed.path("_rotate_certs_backup").exists());
}

#[test]
fn arguments_are_refused() {
    let bed = Bed::new();
    bed.is_refused(&["--location", ""], &["--location is empty"]);
    bed.is_refused(&["--location", "West US 2"], &["\"local\"", "\"westus2\""]);
    bed.is_refused(&["--ssh-host", ""], &["--ssh-host is empty"]);
    bed.is_refused(&["--linux-ssh-private-key", "/none"], &["/none does not exist"]);
    bed.is_refused(&["--api-model", "/none"], &["/none does not exist"]);
    bed.is_refused(&["--certificate-profile", "/none"], &["/none does not exist"]);
    bed.is_refused(&["--azure-env", "Elsewhere"], &["Elsewhere", "AzureStackCloud"]);
    bed.is_refused(&["--auth-method", "password"], &["password", "client_certificate"]);
    let secret = ["--auth-method", "client_secret"];
    bed.is_refused(&[&secret[..], &["--client-id", "x"]].concat(), &["--client-id must be a UUID"]);
    bed.is_refused(&[&secret[..], &["--client-id", ID]].concat(), &["AZURE_CLIENT_SECRET"]);
    bed.is_refused(&["--auth-method", "client_certificate", "--client-id", ID], &["--certificate-path and"]);
    bed.is_refused(&["--auth-method", "cli"], &["--subscription-id", "az account set"]);
    bed.is_refused(&["--subscription-id", "x", "--auth-method", "cli"], &["--subscription-id"]);
}

/// Every kind of model over which the ancestor crashes or goes wrong.
#[test]
fn models_are_refused() {
    let bed = Bed::new();
    let properties = |model: &mut Value, key: &str, value: Value| model["properties"][key] = value;
    bed.is_refused_with(|model| model["apiVersion"] = json!("v20170701"), &["apiVersion \"v20170701\""]);
    bed.is_refused_with(|model| model["properties"]["colour"] = json!(1), &["unknown key properties.colour"]);
    bed.is_refused_with(
        |model| properties(model, "masterProfile", Value::Null),
        &["no properties.masterProfile"],
    );
    bed.is_refused_with(|model| properties(model, "linuxProfile", Value::Null), &["no linuxProfile"]);
    bed.is_refused_with(
        |model| {
            properties(model, "customCloudProfile", json!({"portalURL": "https://portal.local.example/"}))
        },
        &["no properties.customCloudProfile.environment"],
    );
    bed.is_refused_with(
        |model| properties(model, "windowsProfile", json!({"adminUsername": "a", "sshEnabled": false})),
        &["windowsProfile.sshEnabled is false"],
    );
    bed.is_refused_with(
        |model| properties(model, "certificateProfile", Value::Null),
        &["no certificateProfile"],
    );
    bed.is_refused_with(
        |model| model["properties"]["certificateProfile"]["etcdPeerPrivateKeys"] = json!(["x"]),
        &["etcdPeerPrivateKeys[2]"],
    );
    bed.is_refused_with(
        |model| model["properties"]["orchestratorProfile"]["orchestratorType"] = json!("DCOS"),
        &["DCOS"],
    );
    bed.is_refused_with(
        |model| model["properties"]["masterProfile"]["cosmosEtcd"] = json!(true),
        &["cosmosEtcd"],
    );
    fs::write(bed.path("bad.json"), "{").expect("a place");
    bed.is_refused(&["--api-model", &bed.text("bad.json")], &["not JSON"]);
}

#[test]
fn certificate_profiles_are_refused() {
    let bed = Bed::new();
    let good = profile_of(&pki().join("other/apimodel.json"));
    bed.is_refused_with_profile("null", &["is null, expected an object"]);
    bed.is_refused_with_profile("{", &["not JSON"]);
    bed.is_refused_with_profile(r#"{"certificateProfile": null}"#, &["certificateProfile", "is null"]);
    bed.is_refused_with_profile(r#"{"caCertificat": "x"}"#, &["unknown key caCertificat"]);
    bed.is_refused_with_profile("{}", &["no caCertificate;", "no clientPrivateKey;", "for 0 of 3 masters"]);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut profile = good.clone();
        change(&mut profile);
        json!({"certificateProfile": profile}).to_string()
    };
    let other = profile_of(&pki().join("apimodel.json"));
    bed.is_refused_with_profile(
        &changed(&|profile| profile["caCertificate"] = other["caCertificate"].clone()),
        &["caPrivateKey is not the key of caCertificate", "was not signed by caCertificate"],
    );
    bed.is_refused_with_profile(
        &changed(&|profile| profile["clientPrivateKey"] = other["clientPrivateKey"].clone()),
        &["clientPrivateKey is not the key of clientCertificate"],
    );
    bed.is_refused_with_profile(
        &changed(&|profile| {
            profile["caCertificate"] = profile["apiServerCertificate"].clone();
            profile["caPrivateKey"] = profile["apiServerPrivateKey"].clone();
        }),
        &["caCertificate cannot be this cluster's CA"],
    );
    bed.is_refused_with_profile(
        &changed(&|profile| {
            profile["etcdPeerCertificates"].as_array_mut().expect("a list").truncate(2);
        }),
        &["for 2 of 3 masters"],
    );
    bed.is_refused_with_profile(&other.to_string(), &["its CA is the one that the cluster has"]);
    // Both shapes of one that is fit go on to the SSH host.
    for profile in [good.to_string(), changed(&|_| {})] {
        bed.is_refused_with_profile(&profile, &["127.0.0.1"]);
    }
}

#[test]
fn keys_are_refused_or_unlocked() {
    let bed = Bed::new();
    fs::write(bed.path("empty"), "").expect("a place");
    bed.is_refused(&["--linux-ssh-private-key", &bed.text("empty")], &["it is empty"]);
    let locked = bed.text("locked");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "open sesame", "-f", &locked]).status();
    assert!(made.expect("ssh-keygen starts").success());
    bed.is_refused(&["--linux-ssh-private-key", &locked], &["encrypted", "--passphrase-fd"]);
    for (passphrase, word) in
        [("open sesame\n", "127.0.0.1"), ("hunter2\n", "not this key's"), ("\n", "empty line")]
    {
        fs::write(bed.path("passphrase"), passphrase).expect("a place");
        // A shell opens the descriptor, as it does for an operator.
        let script = format!(
            "exec \"$0\" rotate-certs -l local -g lab -m {} --ssh-host 127.0.0.1 --ssh-port 1 \
             --linux-ssh-private-key {locked} --passphrase-fd 3 3< {}",
            bed.text("apimodel.json"),
            bed.text("passphrase")
        );
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_kubecert")])
            .env("KUBECERT_STATE_DIR", bed.text("state"))
            .stdin(Stdio::null())
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(word), "{passphrase:?}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("sesame"), "{said}");
    }
}
