//! A judge of the operator's files, as strict as the ancestor's own reader and its shell scripts are.
//!
//! It shares no code with what writes them: it reads JSON by `serde_json` alone, takes PEM apart by itself, and has
//! OpenSSL say which key belongs to which certificate. What it wants is what aks-engine's `output.go`, `apiloader.go`,
//! `strictjson.go` and `rotate_certs.go` read and write.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The members of a `certificateProfile` and the files that hold the same, peers apart.
const MEMBERS: [(&str, &str); 12] = [
    ("caCertificate", "ca.crt"),
    ("caPrivateKey", "ca.key"),
    ("apiServerCertificate", "apiserver.crt"),
    ("apiServerPrivateKey", "apiserver.key"),
    ("clientCertificate", "client.crt"),
    ("clientPrivateKey", "client.key"),
    ("kubeConfigCertificate", "kubectlClient.crt"),
    ("kubeConfigPrivateKey", "kubectlClient.key"),
    ("etcdServerCertificate", "etcdserver.crt"),
    ("etcdServerPrivateKey", "etcdserver.key"),
    ("etcdClientCertificate", "etcdclient.crt"),
    ("etcdClientPrivateKey", "etcdclient.key"),
];

/// What a directory is judged by.
pub(super) struct Expected<'a> {
    /// The model as the ancestor generated it.
    pub(super) model: &'a [u8],
    /// The kubeconfig that the ancestor generated, where there is one to compare with.
    pub(super) kubeconfig: Option<&'a [u8]>,
    /// Whether the directory holds nothing else.
    pub(super) alone: bool,
}

/// Everything that the ancestor's reader would stumble over in a directory; nothing if it would not.
pub(super) fn complaints(directory: &Path, expected: &Expected<'_>) -> Vec<String> {
    let mut judge = Judge { directory, complaints: Vec::new() };
    judge.look(expected);
    judge.complaints
}

struct Judge<'a> {
    directory: &'a Path,
    complaints: Vec<String>,
}

impl Judge<'_> {
    fn complain(&mut self, what: impl Into<String>) {
        self.complaints.push(what.into());
    }

    fn look(&mut self, expected: &Expected<'_>) {
        let Some(original) = json(expected.model) else { return self.complain("the original is not JSON") };
        let masters = original["properties"]["masterProfile"]["count"].as_u64().unwrap_or(0);
        let location = original["location"].as_str().unwrap_or_default().to_owned();
        let kubeconfig = format!("kubeconfig.{location}.json");
        let mut files: Vec<(String, String)> =
            MEMBERS.iter().map(|(key, file)| ((*key).to_owned(), (*file).to_owned())).collect();
        for index in 0..masters {
            files.push((format!("etcdPeerCertificates[{index}]"), format!("etcdpeer{index}.crt")));
            files.push((format!("etcdPeerPrivateKeys[{index}]"), format!("etcdpeer{index}.key")));
        }
        let names: BTreeSet<String> = files.iter().map(|(_, file)| file.clone()).collect();
        self.names(&names, expected.alone);
        self.modes(&kubeconfig);
        let profile = self.model(&original, masters);
        for (key, file) in &files {
            self.member(&profile, key, file);
        }
        self.pairs(masters);
        self.kubeconfig(&kubeconfig, &original, expected.kubeconfig);
    }

    /// The files are those that the ancestor writes, by name.
    fn names(&mut self, pem: &BTreeSet<String>, alone: bool) {
        let mut wanted = pem.clone();
        wanted.extend(["apimodel.json".to_owned(), "kubeconfig".to_owned()]);
        let found: BTreeSet<String> = fs::read_dir(self.directory)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        for missing in wanted.difference(&found) {
            self.complain(format!("{missing} is missing"));
        }
        for more in found.difference(&wanted).filter(|_| alone) {
            self.complain(format!("{more} is no file of the ancestor's"));
        }
    }

    /// Nobody else can read them: files 0600, directories 0700.
    fn modes(&mut self, kubeconfig: &str) {
        let mut paths =
            vec![self.directory.join("kubeconfig"), self.directory.join("kubeconfig").join(kubeconfig)];
        let below = fs::read_dir(self.directory).into_iter().flatten().flatten().map(|entry| entry.path());
        paths.extend(below.filter(|path| path.is_file()));
        for path in paths {
            let Ok(found) = fs::metadata(&path) else {
                self.complain(format!("{} is missing", path.display()));
                continue;
            };
            let (mode, wanted) =
                (found.permissions().mode() & 0o7777, if found.is_dir() { 0o700 } else { 0o600 });
            if mode != wanted {
                self.complain(format!("{} has mode {mode:o} instead of {wanted:o}", path.display()));
            }
        }
    }

    /// The model is the original but for its profile, whose keys are those that the ancestor knows: it refuses a file with
    /// any other one. Gives the profile.
    fn model(&mut self, original: &Value, masters: u64) -> Value {
        let bytes = fs::read(self.directory.join("apimodel.json")).unwrap_or_default();
        let Some(mut model) = json(&bytes) else {
            self.complain("apimodel.json is not JSON");
            return Value::Null;
        };
        let profile = model["properties"]["certificateProfile"].take();
        let mut original = original.clone();
        original["properties"]["certificateProfile"].take();
        if model != original {
            self.complain("apimodel.json differs from the original in more than its certificateProfile");
        }
        let mut known: Vec<&str> = MEMBERS.iter().map(|(key, _)| *key).collect();
        known.extend(["etcdPeerCertificates", "etcdPeerPrivateKeys"]);
        match profile.as_object() {
            None => self.complain("certificateProfile is no object"),
            Some(members) => {
                for key in members.keys().filter(|key| !known.contains(&key.as_str())) {
                    self.complain(format!("unknown JSON tag {key}"));
                }
            }
        }
        for list in ["etcdPeerCertificates", "etcdPeerPrivateKeys"] {
            let length = profile[list].as_array().map_or(0, Vec::len);
            if length as u64 != masters {
                self.complain(format!("{list} has {length} entries for {masters} masters"));
            }
        }
        // Go reads the first of two members of one name as well as the second, and says nothing.
        let text = String::from_utf8_lossy(&bytes);
        for (key, _) in MEMBERS {
            let count = text.matches(&format!("\"{key}\"")).count();
            if count != 1 {
                self.complain(format!("{key} stands in apimodel.json {count} times"));
            }
        }
        profile
    }

    /// A member is one PEM block of the right type, and its file holds the same.
    fn member(&mut self, profile: &Value, key: &str, file: &str) {
        let value = match key.split_once('[') {
            Some((list, index)) => {
                let index = index.trim_end_matches(']').parse::<usize>().unwrap_or(usize::MAX);
                profile[list][index].as_str()
            }
            None => profile[key].as_str(),
        };
        let Some(value) = value else { return self.complain(format!("{key} is no text")) };
        let label = if file.ends_with(".key") { "RSA PRIVATE KEY" } else { "CERTIFICATE" };
        if let Err(why) = one_block(value, label) {
            self.complain(format!("{key} {why}"));
        }
        if fs::read(self.directory.join(file)).ok().as_deref() != Some(value.as_bytes()) {
            self.complain(format!("{file} holds something else than {key}"));
        }
    }

    /// Keys belong to their certificates, and the CA has signed all of them, as OpenSSL sees it.
    fn pairs(&mut self, masters: u64) {
        let mut bases: Vec<String> =
            ["ca", "apiserver", "client", "kubectlClient", "etcdserver", "etcdclient"]
                .map(str::to_owned)
                .into();
        bases.extend((0..masters).map(|index| format!("etcdpeer{index}")));
        for base in &bases {
            let certificate = self.openssl(&["x509", "-noout", "-modulus", "-in", &format!("{base}.crt")]);
            let key = self.openssl(&["rsa", "-noout", "-modulus", "-in", &format!("{base}.key")]);
            if certificate.is_none() || certificate != key {
                self.complain(format!("{base}.key is not the key of {base}.crt"));
            }
        }
        let leaves: Vec<String> = bases.iter().skip(1).map(|base| format!("{base}.crt")).collect();
        let mut arguments = vec!["verify", "-no_check_time", "-CAfile", "ca.crt"];
        arguments.extend(leaves.iter().map(String::as_str));
        if self.openssl(&arguments).is_none() {
            self.complain("ca.crt has not signed all of them");
        }
    }

    fn openssl(&self, arguments: &[&str]) -> Option<Vec<u8>> {
        let output = Command::new("openssl").args(arguments).current_dir(self.directory).output().ok()?;
        output.status.success().then_some(output.stdout)
    }

    /// The kubeconfig is the ancestor's but for the credentials, which are those of the files.
    fn kubeconfig(&mut self, name: &str, original: &Value, theirs: Option<&[u8]>) {
        let bytes = fs::read(self.directory.join("kubeconfig").join(name)).unwrap_or_default();
        let Some(mut ours) = json(&bytes) else { return self.complain(format!("{name} is not JSON")) };
        let prefix = original["properties"]["masterProfile"]["dnsPrefix"].as_str().unwrap_or_default();
        let admin = format!("{prefix}-admin");
        for (pointer, wanted) in [
            ("/apiVersion", "v1"),
            ("/kind", "Config"),
            ("/current-context", prefix),
            ("/clusters/0/name", prefix),
            ("/contexts/0/name", prefix),
            ("/contexts/0/context/cluster", prefix),
            ("/contexts/0/context/user", &admin),
            ("/users/0/name", &admin),
        ] {
            if ours.pointer(pointer).and_then(Value::as_str) != Some(wanted) {
                self.complain(format!("{name}: {pointer} is not {wanted}"));
            }
        }
        let mut held = vec![("/clusters/0/cluster/certificate-authority-data", "ca.crt")];
        let aad = !original["properties"]["aadProfile"].is_null();
        if aad {
            if ours.pointer("/users/0/user/auth-provider/name").and_then(Value::as_str) != Some("azure") {
                self.complain(format!("{name}: its user does not log in through Azure Active Directory"));
            }
        } else {
            held.push(("/users/0/user/client-certificate-data", "kubectlClient.crt"));
            held.push(("/users/0/user/client-key-data", "kubectlClient.key"));
        }
        for (pointer, file) in &held {
            let value = ours.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let file_bytes = fs::read(self.directory.join(file)).unwrap_or_default();
            if STANDARD.decode(value).ok().as_deref() != Some(&file_bytes[..]) {
                self.complain(format!("{name}: {pointer} is not {file}"));
            }
        }
        let Some(mut theirs) = theirs.and_then(json) else { return };
        for (pointer, _) in held {
            for side in [&mut ours, &mut theirs] {
                if let Some(value) = side.pointer_mut(pointer) {
                    *value = Value::Null;
                }
            }
        }
        if ours != theirs {
            self.complain(format!("{name} differs from the ancestor's in more than its credentials"));
        }
    }
}

fn json(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

/// Whether a text is exactly one PEM block with that label, as Go's `pem.Decode` takes it, and nothing around it.
fn one_block(text: &str, label: &str) -> Result<(), String> {
    let begin = format!("-----BEGIN {label}-----\n");
    let end = format!("\n-----END {label}-----\n");
    let body = text.strip_prefix(&begin).and_then(|rest| rest.strip_suffix(&end));
    let body = body.ok_or_else(|| format!("is not one PEM block of type {label}"))?;
    let lines: Vec<&str> = body.split('\n').collect();
    let (last, full) = lines.split_last().ok_or("is empty")?;
    if full.iter().any(|line| line.len() != 64) || last.is_empty() || last.len() > 64 {
        return Err("is not broken into lines of 64 characters".to_owned());
    }
    let der = STANDARD.decode(lines.concat()).map_err(|_| "is not base64".to_owned())?;
    // PKCS#1 (RFC 8017): SEQUENCE { INTEGER 0, … }; PKCS#8 has a SEQUENCE behind the version instead of the modulus.
    let header =
        if der.get(1).is_some_and(|length| *length & 0x80 != 0) { 2 + usize::from(der[1] & 0x7f) } else { 2 };
    let inner = der.get(header..).unwrap_or_default();
    let fits = match label {
        "RSA PRIVATE KEY" => der.first() == Some(&0x30) && inner.starts_with(&[2, 1, 0, 2]),
        _ => der.first() == Some(&0x30) && inner.first() == Some(&0x30),
    };
    if fits { Ok(()) } else { Err(format!("is not the DER of a {label}")) }
}
