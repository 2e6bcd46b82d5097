//! `rotate-certs` and the server that stands for Azure: what is refused before any node is touched.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use kubecert_cloud::apimodel::ApiModel;
use kubecert_cloud::testing::{Client, Operations, Stack, StandIn, StandInConfig, StandInMachine};

const SUBSCRIPTION: &str = "3f2c8d5e-6a1b-4c0d-9e7f-1a2b3c4d5e6f";
const CLIENT: &str = "7a0c5b1e-2222-4c0d-9e7f-1a2b3c4d5e6f";
const AUDIENCE: &str = "https://management.example.onmicrosoft.com/1";

fn model(resource_manager: &str) -> String {
    format!(
        r#"{{"apiVersion": "vlabs", "location": "local", "properties": {{
        "orchestratorProfile": {{"orchestratorType": "Kubernetes", "orchestratorVersion": "1.34.4",
            "kubernetesConfig": {{"serviceCidr": "10.0.0.0/16"}}}},
        "masterProfile": {{"count": 1, "dnsPrefix": "synthazs", "firstConsecutiveStaticIP": "10.255.255.5",
            "availabilityProfile": "AvailabilitySet"}},
        "linuxProfile": {{"adminUsername": "azureuser", "ssh": {{"publicKeys": []}}}},
        "customCloudProfile": {{"environment": {{"resourceManagerVMDNSSuffix": "cloudapp.example",
            "resourceManagerEndpoint": "{resource_manager}", "activeDirectoryEndpoint": "{resource_manager}",
            "serviceManagementEndpoint": "{AUDIENCE}"}}}},
        "certificateProfile": {{"caCertificate": "x", "caPrivateKey": "x", "apiServerCertificate": "x",
            "apiServerPrivateKey": "x", "clientCertificate": "x", "clientPrivateKey": "x",
            "kubeConfigCertificate": "x", "kubeConfigPrivateKey": "x", "etcdServerCertificate": "x",
            "etcdServerPrivateKey": "x", "etcdClientCertificate": "x", "etcdClientPrivateKey": "x",
            "etcdPeerCertificates": ["x"], "etcdPeerPrivateKeys": ["x"]}}}}}}"#
    )
}

/// An operator's directory, and an Azure.
struct Bench {
    directory: tempfile::TempDir,
    stand_in: StandIn,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let machine = |node: &str| StandInMachine { node: node.to_owned(), set: None };
        let config = StandInConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            names: vec!["127.0.0.1".to_owned()],
            resource_manager: String::new(),
            login: String::new(),
            audience: AUDIENCE.to_owned(),
            subscription: SUBSCRIPTION.to_owned(),
            tenant: "5d0c5b1e-4444-4c0d-9e7f-1a2b3c4d5e6f".to_owned(),
            resource_group: "lab".to_owned(),
            clients: vec![Client {
                id: CLIENT.to_owned(),
                secret: Some("right".to_owned()),
                certificate: None,
            }],
            machines: vec![machine("k8s-master-11223509-0"), machine("jumpbox")],
            token_lasts_s: 3600,
            stack: Stack::Hub,
            operations: Operations::ByState,
            page: 10,
            device_polls: 0,
        };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let hook: kubecert_cloud::testing::Hook = Arc::new(|_| Box::pin(async { Ok(()) }));
        let stand_in = runtime.block_on(StandIn::start(config, hook)).expect("it listens");
        let directory = tempfile::tempdir().expect("a directory");
        let bench = Self { directory, stand_in, runtime };
        let model = model(&bench.stand_in.resource_manager());
        ApiModel::parse(model.as_bytes()).expect("the model reads");
        bench.write("apimodel.json", &model);
        bench.write("id_rsa", "no key");
        bench.write("root.pem", bench.stand_in.root_pem());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file can be written");
    }

    fn rotate_certs(&self, secret: &str, more: &[&str]) -> Output {
        let path = |name: &str| self.path(name).display().to_string();
        Command::new(env!("CARGO_BIN_EXE_kubecert"))
            .args(["rotate-certs", "-l", "local", "-g", "lab", "--ssh-host", "127.0.0.1", "--ssh-port", "1"])
            .args(["-m", &path("apimodel.json"), "--linux-ssh-private-key", &path("id_rsa")])
            .args(["--azure-env", "AzureStackCloud", "--auth-method", "client_secret", "--client-id", CLIENT])
            .args(["--azure-root-certificate", &path("root.pem")])
            .args(more)
            .env("AZURE_CLIENT_SECRET", secret)
            .env("HOME", self.directory.path())
            .env("KUBECERT_STATE_DIR", self.path("state"))
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .env_remove("ALL_PROXY")
            .env_remove("all_proxy")
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    }

    /// What it said, when it ended as the ancestor does.
    #[track_caller]
    fn refused(&self, secret: &str, more: &[&str]) -> String {
        let output = self.rotate_certs(secret, more);
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    fn is_untouched(&self) -> bool {
        let made = |name: &str| Path::new(&self.path(name)).exists();
        !made("_rotate_certs_output") && !made("_rotate_certs_backup")
    }
}

#[test]
fn azure_is_asked_before_any_node_is() {
    let bench = Bench::new();
    let _entered = bench.runtime.enter();
    let id = ["-s", SUBSCRIPTION];

    let said = bench.refused("wrong", &id);
    assert!(said.contains("AADSTS7000215") && said.contains("not its id"), "{said}");
    assert!(!said.contains("wrong\n") && !said.contains("=wrong"), "{said}");

    bench.stand_in.set_power("k8s-master-11223509-0", "deallocated");
    let said = bench.refused("right", &id);
    assert!(said.contains("k8s-master-11223509-0") && said.contains("deallocated"), "{said}");

    // Now Azure has nothing against it, and the next thing is the key for SSH.
    bench.stand_in.set_power("k8s-master-11223509-0", "running");
    for force in [&[][..], &["--force"]] {
        let said = bench.refused("right", &[&id[..], force].concat());
        assert!(said.contains("jumpbox"), "what the model does not know is named: {said}");
        assert!(said.contains("id_rsa") || said.contains("key"), "{said}");
    }
    assert!(bench.is_untouched());
}

#[test]
fn the_subscription_is_the_azure_clis_where_none_is_given() {
    let bench = Bench::new();
    let said = bench.refused("right", &[]);
    assert!(said.contains("--subscription-id is required"), "{said}");
    assert!(bench.stand_in.calls().is_empty());
    std::fs::create_dir(bench.path(".azure")).expect("a directory can be made");
    bench.write(".azure/clouds.config", &format!("[AzureCloud]\nsubscription = {SUBSCRIPTION}\n"));
    let said = bench.refused("right", &[]);
    assert!(said.contains(&format!("The subscription is the Azure CLI's: {SUBSCRIPTION}")), "{said}");
    assert!(!bench.stand_in.calls().is_empty());
}

#[test]
fn sessions_are_for_clouds_that_know_them() {
    let bench = Bench::new();
    let path = bench.path("apimodel.json").display().to_string();
    for method in ["cli", "device"] {
        let output = Command::new(env!("CARGO_BIN_EXE_kubecert"))
            .args(["rotate-certs", "-l", "local", "-g", "lab", "-m", &path, "--ssh-host", "h"])
            .args([
                "--linux-ssh-private-key",
                &path,
                "--azure-env",
                "AzureStackCloud",
                "--auth-method",
                method,
            ])
            .output()
            .expect("the program starts");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("client_certificate"), "{said}");
    }
    assert!(bench.stand_in.calls().is_empty());
}
