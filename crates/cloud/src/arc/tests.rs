use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use kubecert_core::assess::{Class, Credential, Evidence, Material};
use kubecert_core::inventory::CertificateFacts;
use kubecert_engine::ports::Holder;

use super::{presented as presented_all, read as read_all, *};

fn read(source: &Source) -> Vec<Credential> {
    read_all(source).credentials
}

fn presented(source: &Source, chain: Result<Vec<Vec<u8>>, String>) -> Vec<Credential> {
    presented_all(source, chain).credentials
}

struct Pair {
    certificate: String,
    key: String,
}

fn pair(name: &str, ends: (i32, u8, u8)) -> Pair {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(ends.0, ends.1, ends.2);
    let certificate = params.self_signed(&key).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn token(claims: &str) -> String {
    format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode("{\"alg\":\"RS256\"}"), URL_SAFE_NO_PAD.encode(claims))
}

fn login(token: &str, roots: &str) -> String {
    let roots = STANDARD.encode(roots);
    format!(
        "name: csi\ntoken: {token}\ncertificate: {roots}\nclienttype: ControlPlane\ncloudfqdn: ca.example\n"
    )
}

fn source(class: Class, place: Place) -> Source {
    Source {
        class,
        cluster: Some("holidays".to_owned()),
        holder: "somebody".to_owned(),
        ephemeral: false,
        identity: None,
        place,
    }
}

fn written(directory: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn ends(credential: &Credential) -> String {
    credential.not_after().unwrap().strftime("%F").to_string()
}

fn why(credentials: &[Credential]) -> String {
    match &credentials.last().unwrap().evidence {
        Evidence::Unreadable { why } => why.clone(),
        seen @ Evidence::Seen { .. } => panic!("it was read: {seen:?}"),
    }
}

#[test]
fn a_login_file_tells_the_token_and_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let root = pair("cloud agent", (2027, 6, 1));
    let text = login(&token("{\"iat\":1790000000,\"exp\":1797000000.9}"), &root.certificate);
    for (name, text) in [("plain.yaml", text.clone()), ("identity", STANDARD.encode(&text))] {
        let place = Place::Login(written(directory.path(), name, text));
        let found = read(&source(Class::CsiDriver, place));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].class, found[0].material), (Class::CsiDriver, Material::Token));
        assert_eq!(found[0].not_after(), Some(Timestamp::from_second(1_797_000_000).unwrap()));
        assert_eq!((found[1].class, found[1].cluster.as_deref()), (Class::RootCa, None));
        assert_eq!(ends(&found[1]), "2027-06-01");
    }
}

/// One clear reason each, and never a panic or a good verdict.
#[test]
fn login_files_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let cases = [
        ("", "it is empty"),
        ("token: ''\n", "it has no token"),
        ("name: x\n", "it has no token"),
        ("{[", "it is no login file"),
        ("token: abc\n", "its token is no JWT"),
        ("token: a.!.c\n", "not in base64url"),
        ("token: a.e30.c\n", "does not say when it ends"),
        ("token: a.W10.c\n", "does not hold claims"),
    ];
    for (text, expected) in cases {
        let path = written(directory.path(), "login.yaml", text);
        let found = read(&source(Class::Administrator, Place::Login(path)));
        assert!(why(&found).contains(expected), "{text:?}: {}", why(&found));
        assert_eq!(found[0].material, Material::Token);
    }
    let gone = Place::Login(directory.path().join("gone.yaml"));
    assert!(why(&read(&source(Class::Administrator, gone))).contains("it cannot be read"));
    let far = login(&token("{\"exp\":1e300}"), "");
    let far = Place::Login(written(directory.path(), "far.yaml", far));
    assert!(why(&read(&source(Class::Administrator, far))).contains("no calendar has"));
    let foreign = format!("token: {}\ncertificate: '%%'\n", token("{\"exp\":1797000000}"));
    let found =
        read(&source(Class::NodeAgent, Place::Login(written(directory.path(), "foreign.yaml", foreign))));
    assert_eq!(found.len(), 2, "what could be read is told beside what could not: {found:?}");
    assert!(why(&found).contains("its roots are not in base64"));
}

#[test]
fn an_access_file_tells_the_certificate_and_whether_its_key_fits() {
    let directory = tempfile::tempdir().unwrap();
    let (client, other, root) =
        (pair("client", (2026, 12, 1)), pair("other", (2026, 12, 1)), pair("root", (2027, 1, 1)));
    let access = |key: &str| {
        let text = serde_json::json!({
            "CloudCertificate": STANDARD.encode(&root.certificate),
            "ClientCertificate": STANDARD.encode(&client.certificate),
            "ClientKey": STANDARD.encode(key),
            "IdentityName": "kvactl",
        });
        let path = written(directory.path(), "cloudconfig", text.to_string());
        read(&source(Class::Appliance, Place::Access(path)))
    };
    let found = access(&client.key);
    assert_eq!(found.iter().map(ends).collect::<Vec<_>>(), ["2026-12-01", "2027-01-01"]);
    assert_eq!(found[1].class, Class::RootCa);
    assert!(why(&access(&other.key)).contains("its key does not fit"));
    for (text, expected) in [
        ("[]", "it is not JSON"),
        ("{}", "no ClientCertificate"),
        ("{\"ClientCertificate\":\"%\"}", "not in base64"),
    ] {
        let path = written(directory.path(), "other", text);
        let found = read(&source(Class::Appliance, Place::Access(path)));
        assert!(why(&found).contains(expected), "{text}: {}", why(&found));
    }
}

#[test]
fn a_directory_tells_every_file_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let pki = directory.path().join("pki");
    let leaf = pair("kube-apiserver", (2026, 11, 30));
    written(&pki, "apiserver.crt", &leaf.certificate);
    written(&pki, "apiserver.key", &leaf.key);
    written(&pki, "etcd/server.crt", &leaf.certificate);
    written(&pki, "etcd/broken.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let kubeconfig = format!(
        "apiVersion: v1\nusers:\n- name: admin\n  user:\n    client-certificate-data: {}\n",
        STANDARD.encode(&leaf.certificate)
    );
    written(&pki, "admin.conf", kubeconfig);
    let found = read(&source(Class::ControlPlane, Place::Certificates(pki.clone())));
    let names: Vec<&str> = found.iter().map(|found| found.place.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["admin.conf", "apiserver.crt", "broken.crt", "server.crt"]);
    assert!(found[2].not_after().is_none(), "one that is broken hides no other");
    let empty = tempfile::tempdir().unwrap();
    let found = read(&source(Class::ControlPlane, Place::Certificates(empty.path().to_owned())));
    assert!(why(&found).contains("no certificate in it"));
}

#[test]
fn a_server_that_does_not_answer_is_unknown() {
    let place = Place::Server("ca.example:55000".to_owned());
    let found = presented(&source(Class::CloudAgent, place.clone()), Err("connection refused".to_owned()));
    assert_eq!(why(&found), "connection refused");
    let leaf = pair("cloud agent", (2027, 6, 1));
    let der = kubecert_pki::Certificate::from_pem(&leaf.certificate).unwrap().der().to_vec();
    let found = presented(&source(Class::CloudAgent, place), Ok(vec![der.clone(), der]));
    assert_eq!(found.iter().map(|found| found.class).collect::<Vec<_>>(), [Class::CloudAgent, Class::RootCa]);
    let twice = [found.clone(), found].concat();
    assert_eq!(without_repeated_authorities(twice).len(), 3);
}

#[test]
fn a_site_file_is_understood_or_its_entry_is_named() {
    let parse = |text: &str| Site::parse(text, Path::new("/site"));
    let site = parse(
        "name: plant-7\ncredentials:\n\
         - {class: cloud-agent, holder: ca-1, server: 'ca.example:55000'}\n\
         - {class: kms-plugin, cluster: holidays, login: kms.yaml, ephemeral: true}\n",
    )
    .unwrap();
    assert_eq!(site.sources[0].place, Place::Server("ca.example:55000".to_owned()));
    assert_eq!(site.sources[1].place, Place::Login(PathBuf::from("/site/kms.yaml")));
    assert_eq!(site.sources[1].holder, "KMS plugin");
    let entry = |entry: &str| parse(&format!("name: x\ncredentials:\n- {entry}\n")).unwrap_err().to_string();
    assert!(entry("{class: administrator}").contains("must name one of login"));
    assert!(entry("{class: administrator, login: a, access: b}").contains("one only"));
    assert!(entry("{class: cloud-agent, server: nowhere}").contains("not HOST:PORT"));
    assert!(entry("{class: control-plane, certificates: pki}").contains("of which cluster"));
    assert!(entry("{class: tyre, login: a}").contains("it is no site file"));
    assert!(entry("{class: administrator, login: a, colour: red}").contains("it is no site file"));
}

/// Two login files: one with the root of what the cloud agent presents, one of another site.
#[test]
fn a_client_of_another_root_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (own, other) = (pair("cloud agent", (2027, 6, 1)), pair("another", (2027, 6, 1)));
    let login_of = |name: &str, root: &Pair| {
        let text = login(&token("{\"exp\":1797000000}"), &root.certificate);
        let place = Place::Login(written(directory.path(), name, text));
        let source = Source { holder: name.to_owned(), ..source(Class::NodeAgent, place) };
        let seen = read_all(&source);
        (source, seen)
    };
    let server = source(Class::CloudAgent, Place::Server("ca.example:55000".to_owned()));
    let der = kubecert_pki::Certificate::from_pem(&own.certificate).unwrap().der().to_vec();
    let seen = presented_all(&server, Ok(vec![der]));
    let site = [login_of("good", &own), login_of("foreign", &other), (server.clone(), seen)];
    let found = strangers(&site);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].client.starts_with("foreign (") && found[0].server == "ca.example:55000");
    let silent = presented_all(&server, Err("no answer".to_owned()));
    assert!(strangers(&[login_of("foreign", &other), (server, silent)]).is_empty(), "nothing is known of it");
}

#[test]
fn a_site_file_says_how_its_holders_are_reached() {
    let text = "\
name: plant-7
authority: authority
management: management.conf
ssh: {user: clouduser, key: id_rsa, through: jump.example}
clusters:
  - name: holidays
    kubeconfig: holidays.conf
    load-balancers:
      - {name: lb-1, ssh: 10.0.0.9, certificate: /etc/agent.pem, server: '10.0.0.9:46000'}
      - {name: lb-2, ssh: '10.0.0.10:2222', certificate: /etc/a.crt, key: /etc/a.key, unit: nginx, server: '10.0.0.10:46000'}
credentials:
  - {class: infrastructure-provider, holder: caph, secret: default/caphlogintoken}
  - {class: csi-driver, cluster: holidays, holder: csi, secret: kube-system/csi, in: cluster, key: login, identity: csi}
  - {class: kms-plugin, cluster: vacation, holder: control-1, login: /opt/login.yaml, on: 10.0.0.4}
  - {class: kms-plugin, cluster: vacation, holder: control-2, login: /opt/login.yaml, on: 10.0.0.5, restart: {static-pod: kms-plugin}}
  - {class: node-agent, holder: host-1, login: /opt/login.yaml, on: 10.0.0.6, restart: {unit: wssdagent.service}}
  - {class: control-plane, cluster: vacation, holder: control-1, certificates: /etc/kubernetes/pki, on: 10.0.0.4}
  - {class: kubelet-client, cluster: vacation, holder: control-1, kubeconfig: /etc/kubernetes/kubelet.conf, on: 10.0.0.4}
";
    let site = Site::parse(text, Path::new("/site")).unwrap();
    let restarts = site.sources.iter().filter_map(|source| match &source.place {
        Place::Remote(place) => Some(place.restart.clone()),
        _ => None,
    });
    let (pod, unit) = (Holder::StaticPod("kms-plugin".into()), Holder::Unit("wssdagent.service".into()));
    assert_eq!(restarts.collect::<Vec<_>>(), [None, Some(pod), Some(unit)]);
    assert_eq!(site.authority.as_deref(), Some(Path::new("/site/authority")));
    assert_eq!(site.cluster_names().into_iter().collect::<Vec<_>>(), ["holidays", "vacation"]);
    let ssh = site.ssh.unwrap();
    assert_eq!((ssh.through.unwrap().port, ssh.known_hosts.as_path()), (22, Path::new("/site/known_hosts")));
    let [first, second] = &site.clusters["holidays"].load_balancers[..] else { panic!() };
    assert_eq!((first.ssh.port, first.unit.as_str(), first.key.as_deref()), (22, "haproxy", None));
    assert_eq!((second.ssh.port, second.unit.as_str()), (2222, "nginx"));
    let places: Vec<String> = site.sources.iter().map(|source| source.place.to_string()).collect();
    assert_eq!(
        places,
        [
            "secret default/caphlogintoken (key value) of the management cluster",
            "secret kube-system/csi (key login) of cluster holidays",
            "/opt/login.yaml on 10.0.0.4:22",
            "/opt/login.yaml on 10.0.0.5:22",
            "/opt/login.yaml on 10.0.0.6:22",
            "/etc/kubernetes/pki on 10.0.0.4:22",
            "/etc/kubernetes/kubelet.conf on 10.0.0.4:22",
        ]
    );
}

#[test]
fn what_a_site_file_says_wrongly_of_reaching_is_told() {
    let entry = |rest: &str| format!("name: a\ncredentials:\n  - {{class: identity, {rest}}}\n");
    let balancer = |rest: &str| {
        format!("name: a\ncredentials: []\nclusters: [{{name: c, load-balancers: [{{name: lb, {rest}}}]}}]\n")
    };
    for (text, why) in [
        (entry("secret: caphlogintoken"), "names a secret that is not NAMESPACE/NAME"),
        (entry("secret: '../x/y'"), "names a secret that is not NAMESPACE/NAME"),
        (entry("secret: a/b, in: cluster"), "must say of which cluster it is"),
        (entry("secret: a/b, login: c"), "and one only"),
        (entry("login: c, key: value"), "which are for a secret"),
        (entry("login: c, on: host"), "without its absolute path"),
        (entry("login: /c, on: 'host:x'"), "not HOST or HOST:PORT"),
        (entry("access: /c, on: host"), "says `on`, which is for login, certificates and kubeconfig"),
        (
            entry("login: c, restart: {unit: a}"),
            "says `restart`, which is for a login file on another machine",
        ),
        (entry("login: /c, on: host, restart: {}"), "must say who is restarted"),
        (entry("login: /c, on: host, restart: {unit: a, static-pod: b}"), "must say who is restarted"),
        (entry("login: /c, on: host, restart: {static-pod: '-a'}"), "must say who is restarted"),
        (entry("login: /c, on: host, restart: {pod: a}"), "pod"),
        (balancer("ssh: 'h:0', certificate: /a, server: 'h:1'"), "ssh: h:0 is not HOST or HOST:PORT"),
        (balancer("ssh: h, certificate: /a, server: h"), "server: h is not HOST:PORT"),
        (balancer("ssh: h, certificate: a, server: 'h:1'"), "it must be an absolute one"),
        (
            "name: a\ncredentials: []\nclusters: [{name: c}, {name: c}]\n".to_owned(),
            "cluster c is described twice",
        ),
    ] {
        let error = Site::parse(&text, Path::new("/site")).expect_err(&text).to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_kubeconfig_leads_to_a_cluster_or_says_why_not() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = |name: &str, key: &kubecert_pki::PrivateKey| {
        let shape =
            kubecert_pki::Template::ca(kubecert_pki::DistinguishedName::common_name(name).unwrap()).unwrap();
        let lasts = jiff::SignedDuration::from_hours(9);
        let validity = kubecert_pki::Validity::back_dated(jiff::Timestamp::now(), lasts).unwrap();
        let serial = kubecert_pki::Serial::random().unwrap();
        kubecert_pki::self_signed_ca(&shape, key, validity, &serial).unwrap().to_pem()
    };
    let new_key = || kubecert_pki::PrivateKey::generate(kubecert_pki::KeyAlgorithm::EcdsaP256).unwrap();
    let (key, other) = (new_key(), new_key());
    let pem = |key: &kubecert_pki::PrivateKey| key.to_pem(kubecert_pki::KeyEncoding::Pkcs8).unwrap();
    written(directory.path(), "client.crt", certificate("client", &key));
    written(directory.path(), "client.key", pem(&key).expose());
    let ca = STANDARD.encode(certificate("ca", &other));
    let config = |server: &str, user: &str| {
        format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{server: '{server}', certificate-authority-data: {ca}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n"
        )
    };
    let read = |text: String| ClusterLogin::read(&written(directory.path(), "config", text));
    let files = "client-certificate: client.crt, client-key: client.key";
    let good = read(config("https://api.example:6443", files)).unwrap();
    assert_eq!(
        (good.host.as_str(), good.port, good.roots.len(), good.chain.len()),
        ("api.example", 6443, 1, 1)
    );
    assert_eq!(read(config("https://[::1]", files)).unwrap().host, "[::1]");
    assert_eq!(read(config("https://api.example/", files)).unwrap().port, 443);
    let foreign = STANDARD.encode(pem(&other).expose());
    for (text, why) in [
        (String::new(), "it is empty"),
        ("hello".to_owned(), "it is no kubeconfig"),
        ("{}".to_owned(), "it has no current context"),
        ("current-context: c".to_owned(), "it has no context c"),
        (config("http://api.example", files), "is no https://HOST:PORT"),
        (config("https://api.example:port", files), "is no https://HOST:PORT"),
        (config("https://a", "token: s3cret"), "it has no client-certificate"),
        (config("https://a", "client-certificate: none.crt, client-key: client.key"), "No such file"),
        (
            config("https://a", &format!("client-certificate: client.crt, client-key-data: {foreign}")),
            "does not fit",
        ),
    ] {
        let error = read(text).expect_err(why).to_string();
        assert!(error.contains(why) && error.contains("config") && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn files_on_a_machine_are_told_one_by_one_and_what_holds_none_is_not_known() {
    let text = "name: plant\ncredentials:\n  - {class: control-plane, cluster: holidays, holder: control-1, certificates: /etc/kubernetes/pki, on: control-1}\n";
    let site = Site::parse(text, Path::new("/site")).unwrap();
    let [source] = &site.sources[..] else { panic!("one source") };
    let certificate = |ends: &str, is_ca| CertificateFacts {
        fingerprint: String::new(),
        pem: String::new(),
        subject: String::new(),
        issuer: String::new(),
        serial: String::new(),
        not_before: Timestamp::UNIX_EPOCH,
        not_after: ends.parse().unwrap(),
        is_ca,
        sans: Vec::new(),
        key: String::new(),
        signed_by: None,
    };
    let file = |path: &str, certificates| FileFacts {
        path: path.to_owned(),
        mode: 0o644,
        owner: "root:root".to_owned(),
        sha256: String::new(),
        modified: Timestamp::UNIX_EPOCH,
        certificates,
        text: None,
        link: None,
    };
    let files = [
        file("/etc/kubernetes/pki/ca.crt", vec![certificate("2036-01-01T00:00:00Z", true)]),
        file("/etc/kubernetes/pki/sa.key", vec![]),
        file("/etc/kubernetes/pki/etcd/server.crt", vec![certificate("2027-01-01T00:00:00Z", false)]),
    ];
    let told = |seen: Seen| -> Vec<(Class, String, Option<Timestamp>)> {
        let one = |credential: Credential| {
            let ends = credential.not_after();
            (credential.class, credential.place, ends)
        };
        seen.credentials.into_iter().map(one).collect()
    };
    let ends = |text: &str| Some(text.parse().unwrap());
    assert_eq!(
        told(looked_at(source, Ok(&files))),
        [
            (Class::ClusterCa, "/etc/kubernetes/pki/ca.crt".to_owned(), ends("2036-01-01T00:00:00Z")),
            (
                Class::ControlPlane,
                "/etc/kubernetes/pki/etcd/server.crt".to_owned(),
                ends("2027-01-01T00:00:00Z")
            ),
        ]
    );
    let whole = "/etc/kubernetes/pki on control-1:22".to_owned();
    for nothing in [looked_at(source, Ok(&files[1..2])), looked_at(source, Err("it is off".to_owned()))] {
        assert_eq!(told(nothing), [(Class::ControlPlane, whole.clone(), None)]);
    }
}
