//! The deadlock for real: a kube-apiserver that encrypts Secrets by a KMS plugin, whose token was given up while it was down.
//! What stands in is the kubelet (a loop), systemd (a script), and the plugin's own keys.

use std::fs;
use std::sync::Arc;

use kubecert_cloud::authority::LoginFile;
use kubecert_cloud::testing::kms::{KmsConfig, KmsPlugin};
use kubecert_engine::ports::Clock;

use crate::support::{ApiServer, Balancer, Site, text, until};

/// Where the plugin's process finds its files.
const DIRECTORY: &str = "KUBECERT_TEST_KMS";

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// No test: the plugin's process, as which the other test starts this program.
#[test]
#[ignore = "it is the plugin of another test"]
fn plugin_process() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(std::path::PathBuf::from) else { return };
    let at = |name: &str| directory.join(name);
    let config = KmsConfig {
        login_file: at("cloudlogin.yaml"),
        authority: None,
        socket: at("kms.sock"),
        key: at("kms.key"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        KmsPlugin::start(config, Arc::new(SystemClock)).await.expect("it starts").serve().await;
    });
}

/// A systemd with one unit, the plugin.
fn systemctl(machine: &Balancer) -> String {
    let program = std::env::current_exe().expect("this program has a path").display().to_string();
    let at = machine.path("").display().to_string();
    format!(
        r#"#!/bin/sh
cd '{at}' || exit 1
case "$*" in
    *LoadState*) echo LoadState=loaded ;;
    *ActiveState*) echo ActiveState=active ;;
    *MainPID*) echo "MainPID=$(cat kms.pid)" ;;
    restart*)
        [ ! -e kms.pid ] || kill "$(cat kms.pid)"
        {DIRECTORY}='{at}' setsid '{program}' --ignored --exact plugin::plugin_process --nocapture >>kms.log 2>&1 </dev/null &
        echo $! >kms.pid ;;
esac
"#
    )
}

#[test]
fn an_api_server_that_cannot_decrypt_is_brought_back() {
    let Some(machine) = Balancer::start(1) else { return };
    let login = machine.path("cloudlogin.yaml");
    let entry = format!(
        "\x20 - {{class: kms-plugin, cluster: holidays, holder: control-2, login: {}, on: '{}', restart: {{unit: kms}}}}\n\
         \x20 - {{class: kms-plugin, cluster: holidays, holder: control-2, secret: default/kms, in: cluster}}\n",
        login.display(),
        machine.ssh()
    );
    let site = Site::new("", &entry);
    let created = site.create("kms-2");
    fs::copy(&created, &login).expect("a file can be copied");
    fs::write(machine.path("bin/systemctl"), systemctl(&machine)).expect("a file can be written");
    machine.spoil("bin/systemctl restart kms");
    let _ends = Ends(&machine);
    until("the plugin listens", || machine.path("kms.sock").exists().then_some(()));
    let endpoint = machine.path("kms.sock");
    let plugin = serde_json::json!({ "kms": {
        "apiVersion": "v2", "name": "moc", "endpoint": format!("unix://{}", endpoint.display()), "timeout": "3s",
    } });
    let encryption = serde_json::json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{ "resources": ["secrets"], "providers": [plugin] }],
    });
    fs::write(machine.path("encryption.yaml"), encryption.to_string()).expect("a file can be written");
    let option = format!("--encryption-provider-config={}", machine.path("encryption.yaml").display());
    let Some(mut api) = ApiServer::start_with(&[option]) else { return };
    let head = format!("{}    kubeconfig: {}\n", machine.described(), api.path("kubeconfig").display());
    let described = fs::read_to_string(site.path("site.yaml")).expect("it is there");
    fs::write(site.path("site.yaml"), described.replacen("credentials:", &format!("{head}credentials:"), 1))
        .expect("a file can be written");
    api.kubectl(&["create", "secret", "generic", "kms", &format!("--from-file=value={}", created.display())]);
    let update = ["Update-AksHciClusterCertificates", "-name", "holidays", "-fixCloudCredentials"];
    let calm = site.done(&update);
    assert!(calm.contains("0 renewed, 3 not due, 0 failed"), "{calm}");

    // Somebody has rotated the identity; then all is started again.
    site.done(&["authority", "identity", "rotate", "kms-2", "--dir", "a", "--out", "lost.yaml"]);
    machine.spoil("bin/systemctl restart kms");
    let kept_up = api.crash();
    until("the plugin is not let in", || {
        let log = fs::read_to_string(machine.path("kms.log")).unwrap_or_default();
        log.contains("Valid Token Required").then_some(())
    });
    assert!(api.try_kubectl(&["get", "secret", "kms"]).is_none(), "a Secret can be read still");

    let output = site.run(&update);
    let (told, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}{said}\n{}", log(&machine));
    assert!(said.contains("The KMS plugins of cluster holidays have new login files"), "{said}");
    assert!(told.contains("unit kms was restarted"), "{told}");
    assert!(told.contains("2 renewed, 1 not due, 0 failed"), "{told}");
    let on_machine = LoginFile::read(&login).expect("it is a login file").token_id();
    let in_secret = LoginFile::parse(&api.secret("kms")).expect("it is a login file").token_id();
    assert_eq!(on_machine, in_secret, "it was rotated once");
    let again = site.done(&update);
    assert!(again.contains("0 renewed, 3 not due, 0 failed"), "{again}");
    drop(kept_up);
}

/// The plugin's process ends with the test, which did not start it.
struct Ends<'a>(&'a Balancer);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.spoil("kill $(cat kms.pid) || :");
    }
}

fn log(machine: &Balancer) -> String {
    fs::read_to_string(machine.path("kms.log")).unwrap_or_default()
}
