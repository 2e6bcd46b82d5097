//! `--csr-out` and `--certificates` of `kubecert rotate` and `recover`, for CAs whose keys are kept elsewhere. The directory that
//! goes to the signer and comes back is read and written here; what it means is the engine's to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use kubecert_core::intent::{Intent, Signer, Why};
use kubecert_core::model::{LeafId, TrustDomain};
use kubecert_engine::external::{self, Given, Request, Waiting};
use kubecert_engine::pending;
use kubecert_engine::run::{Decisions, Setup};
use kubecert_pki::read_pem_certificates;
use serde_json::json;

use super::cluster::Named;
use super::recover::known_agents;
use super::rotate::{Consent, Wanted, carry_out, intent, run_error};
use super::runtime::{self, Wired};
use super::target::Reach;
use super::{create_directory, print, write_file};
use crate::args::{ClusterSource, GlobalArgs, Output, RecoverArgs, RotateArgs, SignerArgs};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use crate::human::plural::{SIGNING_REQUEST, count};

/// What each request is for, for people and for programs of the signer's.
const INDEX: &str = "requests.json";
/// The version of [`INDEX`]'s format. It rises when a field goes or gets another meaning.
const SCHEMA: u32 = 1;

/// `kubecert rotate --csr-out` or `--certificates`.
pub(super) fn renew(
    global: &GlobalArgs,
    args: &RotateArgs,
    named: Named,
    reach: Reach,
    state: PathBuf,
) -> Result<Exit, CliError> {
    let asked = Intent { signer: Signer::External, ..intent(&args.how) };
    let flag = if args.signer.csr_out.is_some() { "--csr-out" } else { "--certificates" };
    if asked.why != Why::Renew {
        return Err(CliError::new(Kind::Usage, format!("{flag} does not go with --why {}", asked.why)).hint(
            "Only certificates that are renewed can be signed by somebody else: add --why renew. To replace a CA or to \
             give it a longer life, its key has to be on the control planes.",
        ));
    }
    let errand = Errand {
        asked,
        cluster: args.cluster.source(),
        signer: &args.signer,
        decisions: args.decisions.decisions(),
        yes: args.yes,
    };
    errand.carry_out(global, named, reach, state)
}

/// `kubecert recover --csr-out` or `--certificates`.
pub(super) fn recover(
    global: &GlobalArgs,
    args: &RecoverArgs,
    named: Named,
    reach: Reach,
    state: PathBuf,
) -> Result<Exit, CliError> {
    if let Some(pending) = pending::pending(&state) {
        return Err(CliError::new(Kind::Stopped, pending.to_string()).hint(
            "`kubecert resume` goes on with it, with the certificates that it has. Nothing was touched.",
        ));
    }
    let errand = Errand {
        asked: Intent { signer: Signer::External, ..Intent::new(Why::Recover) },
        cluster: args.cluster.source(),
        signer: &args.signer,
        decisions: Decisions::default(),
        yes: args.yes,
    };
    let exit = errand.carry_out(global, named, reach, state)?;
    if args.signer.certificates.is_some() && exit == Exit::Done && global.output == Output::Text {
        print(
            "\nAgents are known by the API, which answers now: `kubecert recover --csr-out` again asks for what has ended on them.\n",
        )?;
    }
    Ok(exit)
}

/// What is to be done with certificates that somebody else signs.
struct Errand<'a> {
    asked: Intent,
    cluster: ClusterSource,
    signer: &'a SignerArgs,
    decisions: Decisions,
    yes: bool,
}

impl Errand<'_> {
    fn carry_out(
        self,
        global: &GlobalArgs,
        named: Named,
        reach: Reach,
        state: PathBuf,
    ) -> Result<Exit, CliError> {
        let Self { asked, cluster, signer, decisions, yes } = self;
        let consent = Consent::asked(yes, io::stdin().is_terminal());
        runtime::with(global, |wired: Wired| async move {
            let mut setup = named.connect(&reach, state.clone(), wired.wires()).await?;
            setup.decisions = decisions;
            if let (Named::AksEngine(described), Why::Recover) = (&named, asked.why) {
                setup.cluster.nodes.extend(known_agents(described));
            }
            if let Some(directory) = &signer.csr_out {
                return request(global, &cluster, setup, &asked, directory, wired).await;
            }
            // A run that was begun with certificates has them in its records.
            if pending::pending(&state).is_some() {
                return carry_out(global, setup, &asked, Wanted::Fresh, &consent, wired).await;
            }
            let waiting = waiting(&state, &asked, setup.cluster.name.as_str())?;
            let requests = waiting.requests(&setup.old).map_err(run_error)?;
            let given = read(signer.certificates.as_deref().unwrap_or(Path::new("")), &requests)?;
            let wanted = waiting.intent();
            let signed = Wanted::Signed(Box::new((waiting, given)));
            carry_out(global, setup, &wanted, signed, &consent, wired).await
        })
    }
}

/// The run that waits for the certificates that were asked for.
fn waiting(state: &Path, asked: &Intent, cluster: &str) -> Result<Waiting, CliError> {
    let verb = verb(asked.why);
    let waiting = Waiting::read(state).map_err(run_error)?.ok_or_else(|| {
        CliError::new(Kind::Input, format!("no certificates were asked for of cluster {cluster}")).hint(format!(
            "`kubecert {verb} --csr-out DIR` asks for them. Their keys wait in the state directory (see --state-dir) until \
             they are used: it must be the same one, and the same user's."
        ))
    })?;
    let wanted = waiting.intent();
    if wanted.why != asked.why {
        let why =
            format!("certificates were asked for by another command, `kubecert {}`", self::verb(wanted.why));
        return Err(CliError::new(Kind::Usage, why)
            .hint("Give them to that one; or ask anew with --csr-out, which takes the same keys again."));
    }
    if asked.limits.renew_within_days.is_some() && asked.limits != wanted.limits {
        return Err(CliError::new(
            Kind::Usage,
            "--renew-within is not the one that was given with --csr-out",
        )
        .hint("Leave it away: what is renewed is what was asked for."));
    }
    Ok(waiting)
}

/// The verb and the reason that are typed for it.
const fn verb(why: Why) -> &'static str {
    if matches!(why, Why::Recover) { "recover" } else { "rotate --why renew" }
}

/// Asks for certificates, and says what to do with the requests.
async fn request(
    global: &GlobalArgs,
    cluster: &ClusterSource,
    setup: Setup,
    intent: &Intent,
    directory: &Path,
    wired: Wired,
) -> Result<Exit, CliError> {
    create_directory(directory)?;
    let waiting = external::request(&setup, intent).await.map_err(run_error)?;
    let Some(waiting) = waiting else {
        drop(setup);
        wired.end().await;
        print(match global.output {
            Output::Text => "Nothing is due; nothing was asked for.\n",
            Output::Json => "{\"requests\": []}\n",
        })?;
        return Ok(Exit::Done);
    };
    let requests = waiting.requests(&setup.old).map_err(run_error)?;
    let name = setup.cluster.name.clone();
    drop(setup);
    wired.end().await;
    let index = index(name.as_str(), &requests);
    for request in &requests {
        write_file(&directory.join(format!("{}.csr", request.name())), request.csr.to_pem())?;
    }
    write_file(&directory.join(INDEX), &index)?;
    match global.output {
        Output::Json => print(&index)?,
        Output::Text => {
            let how = match cluster {
                ClusterSource::File(file) => format!("-c {}", file.display()),
                ClusterSource::ApiModel(file) => format!("-m {} …", file.display()),
            };
            print(&next(
                &requests,
                directory,
                &waiting.run().requested(),
                &format!("{} {how}", verb(intent.why)),
            ))?;
        }
    }
    Ok(Exit::Done)
}

/// What to do next.
fn next(requests: &[Request], directory: &Path, keys: &Path, how: &str) -> String {
    let at = directory.display();
    let mut text = format!(
        "Nothing on the cluster was touched. {at} holds {}, and {INDEX}, which says what each is for.\n\n\
         1. Have them signed: NAME.crt beside each NAME.csr, as PEM, with the subject, names and usages of the request.\n",
        count(requests.len(), SIGNING_REQUEST),
    );
    let domains: BTreeSet<TrustDomain> = requests.iter().map(|request| request.domain).collect();
    for domain in domains {
        let of_domain: Vec<&Request> = requests.iter().filter(|request| request.domain == domain).collect();
        let Some(first) = of_domain.first() else { continue };
        let ca = &first.authority;
        let days = of_domain.iter().map(|request| days(request)).min().unwrap_or(1);
        // Writing to a string cannot fail.
        let _infallible = write!(
            text,
            "\n   {}: by the {domain} CA, {} (sha256 {}), which ends on {}. With openssl, for example:\n\
             \x20    for csr in {at}/{domain}_*.csr; do\n\
             \x20      openssl x509 -req -in \"$csr\" -out \"${{csr%.csr}}.crt\" -CA {domain}-ca.crt -CAkey {domain}-ca.key \\\n\
             \x20        -days {days} -copy_extensions copyall\n\
             \x20    done\n",
            count(of_domain.len(), SIGNING_REQUEST),
            ca.subject(),
            ca.fingerprint(),
            ca.not_after().strftime("%F"),
        );
    }
    let _infallible = write!(
        text,
        "\n2. Then: kubecert {how} --certificates {at}\n   It checks all certificates before it touches anything.\n\n\
         The private keys wait in {} until that run has finished. --csr-out takes the same keys again.\n",
        keys.display(),
    );
    text
}

/// The index of the requests, as JSON.
fn index(cluster: &str, requests: &[Request]) -> String {
    let entry = |request: &Request| {
        let template = request.csr.template();
        let (name, ca) = (request.name(), &request.authority);
        json!({
            "leaf": request.leaf,
            "request": format!("{name}.csr"),
            "certificate": format!("{name}.crt"),
            "ca": {
                "domain": request.domain,
                "subject": ca.subject().to_string(),
                "sha256": ca.fingerprint().to_string(),
                "ends": ca.not_after(),
            },
            "subject": template.subject().to_string(),
            "names": texts(template.sans()),
            "keyUsages": texts(template.key_usage().unwrap_or_default()),
            "extendedKeyUsages": texts(template.extended_key_usage().unwrap_or_default()),
            "days": days(request),
        })
    };
    let entries: Vec<_> = requests.iter().map(entry).collect();
    let index = json!({"schema": SCHEMA, "cluster": cluster, "requests": entries});
    format!("{index:#}\n")
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

/// For how many days a certificate should last: as long as the present one, and no longer than its CA.
fn days(request: &Request) -> i64 {
    const HOURS: i64 = 24;
    let left = request.authority.not_after().duration_since(jiff::Timestamp::now());
    (request.lifetime.min(left).as_hours() / HOURS).max(1)
}

/// The certificates that lie in a directory, by what they were asked for. What is not there is left out.
fn read(directory: &Path, requests: &[Request]) -> Result<BTreeMap<LeafId, Given>, CliError> {
    std::fs::read_dir(directory).map_err(|error| {
        let about = format!("cannot read certificates from {}", directory.display());
        CliError::because(Kind::Input, about, error)
            .hint("Name the directory into which --csr-out wrote the requests. Nothing was touched.")
    })?;
    let mut given = BTreeMap::new();
    for request in requests {
        let path = directory.join(format!("{}.crt", request.name()));
        let certificates = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(error.to_string()),
            Ok(bytes) => {
                let found: Result<Vec<_>, _> = read_pem_certificates(&bytes).into_iter().collect();
                match found {
                    Ok(found) if found.is_empty() => Err("it holds no certificate as PEM".to_owned()),
                    Ok(found) => Ok(found),
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        given.insert(request.leaf.clone(), Given { from: path.display().to_string(), certificates });
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use kubecert_pki::{
        Certificate, Csr, DistinguishedName, ExtendedKeyUsage, KeyAlgorithm, PrivateKey, Serial,
        SubjectAltName, Template, Validity, self_signed_ca,
    };

    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
    }

    fn authority(name: &str) -> Certificate {
        let until: Timestamp = "2049-01-01T00:00:00Z".parse().unwrap();
        let validity = Validity::new(Timestamp::UNIX_EPOCH, until).unwrap();
        let shape = Template::ca(DistinguishedName::common_name(name).unwrap()).unwrap();
        self_signed_ca(&shape, &key(), validity, &Serial::random().unwrap()).unwrap()
    }

    fn request(leaf: &str, domain: TrustDomain) -> Request {
        let shape = Template::builder(DistinguishedName::user("shire-0", &["hobbits"]).unwrap())
            .extended_key_usage([ExtendedKeyUsage::ServerAuth])
            .sans([SubjectAltName::dns("shire-0")])
            .build()
            .unwrap();
        Request {
            leaf: leaf.into(),
            domain,
            authority: authority(&format!("{domain}-ca")),
            csr: Csr::create(&shape, &key()).unwrap(),
            lifetime: SignedDuration::from_hours(365 * 24),
        }
    }

    #[test]
    fn the_operator_is_told_what_to_have_signed_by_whom_and_what_comes_then() {
        let requests = [
            request("apiserver/shire-0", TrustDomain::Cluster),
            request("kubectlClient", TrustDomain::Cluster),
            request("etcd-peer/shire-0", TrustDomain::Etcd),
        ];
        let text = next(
            &requests,
            Path::new("DIR"),
            Path::new("STATE/requested"),
            "rotate --why renew -c cluster.yaml",
        );
        for expected in [
            "DIR holds 3 signing requests",
            "2 signing requests: by the cluster CA, CN=cluster-ca (sha256 ",
            "for csr in DIR/etcd_*.csr; do",
            "-CA etcd-ca.crt -CAkey etcd-ca.key",
            "-days 365 -copy_extensions copyall",
            "2. Then: kubecert rotate --why renew -c cluster.yaml --certificates DIR",
            "wait in STATE/requested until",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        let index: serde_json::Value = serde_json::from_str(&index("shire", &requests)).unwrap();
        let last = &index["requests"][2];
        assert_eq!(index["schema"], 1);
        assert_eq!(last["leaf"], "etcd-peer/shire-0");
        assert_eq!(last["certificate"], "etcd_etcd-peer_shire-0.crt");
        assert_eq!(last["ca"]["sha256"], requests[2].authority.fingerprint().to_string());
        assert_eq!(last["names"], json!(["DNS:shire-0"]));
        assert_eq!(last["extendedKeyUsages"], json!(["serverAuth"]));
        assert_eq!(last["days"], 365);
        assert!(!text.contains("PRIVATE KEY") && !index.to_string().contains("PRIVATE KEY"));
    }

    #[test]
    fn what_lies_in_the_directory_is_read_and_what_does_not_is_left_to_the_judgement() {
        let requests = ["a", "b", "c"].map(|leaf| request(leaf, TrustDomain::Cluster));
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let both = [&requests[0].authority, &requests[1].authority].map(Certificate::to_pem).concat();
        std::fs::write(at("cluster_a.crt"), both).unwrap();
        std::fs::write(at("cluster_b.crt"), "x").unwrap();
        let given = read(directory.path(), &requests).unwrap();
        assert_eq!(given.len(), 2);
        assert_eq!(given[&requests[0].leaf].certificates.as_ref().unwrap().len(), 2);
        assert!(
            given[&requests[1].leaf].certificates.as_ref().unwrap_err().contains("no certificate as PEM")
        );
        assert!(given[&requests[1].leaf].from.ends_with("cluster_b.crt"));
        let error = read(&at("nowhere"), &requests).unwrap_err().error.to_string();
        assert!(error.contains("cannot read certificates from"), "{error}");
    }
}
