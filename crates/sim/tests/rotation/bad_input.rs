//! A run's records that are damaged, strange or open to others: refused with the reason and the way on, nothing touched.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use kubecert_core::intent::{Intent, Scope, Why};
use kubecert_core::model::RunId;
use kubecert_engine::run::{RunError, Setup, resume, rotate};
use kubecert_engine::undo::undo;
use kubecert_sim::SimConfig;
use sha2::{Digest as _, Sha256};

use crate::support::{Bench, assert_finished, assert_rotated, assert_unharmed, replace_ca};

/// After how many events the run is cut off: in the middle of the first visits, with nodes changed and more to come.
const CUT_AFTER: i64 = 90;

/// Every how many files of a vault one is taken away: each costs the reading of the whole vault.
const STRIDE: usize = 5;

/// A cluster with a run that was cut off.
pub(crate) struct CutOff {
    pub(crate) bench: Bench,
    run: PathBuf,
}

/// What must be the same after a refusal.
#[derive(PartialEq)]
pub(crate) struct Everything {
    /// Mode and content by path.
    records: BTreeMap<PathBuf, (u32, Vec<u8>)>,
    /// Digests by path, of each node.
    nodes: Vec<BTreeMap<String, String>>,
    /// How many calls of ports there were, changing anything or not.
    calls: u64,
}

impl CutOff {
    pub(crate) async fn new() -> Self {
        let bench = Bench::new(&SimConfig::new(3, 1));
        bench.cut_off_after(CUT_AFTER);
        tokio::select! {
            ended = bench.rotate() => panic!("it ended: {ended:?}"),
            () = bench.cut.notified() => {}
        }
        let mut runs = fs::read_dir(bench.state()).unwrap().flatten().map(|entry| entry.path());
        let run = runs.find(|path| path.is_dir()).unwrap();
        Self { bench, run }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    pub(crate) fn everything(&self) -> Everything {
        let mut records = BTreeMap::new();
        collect(self.bench.state(), &mut records);
        let sim = &self.bench.sim;
        let nodes = sim.node_names().iter().map(|node| sim.files(node)).collect();
        Everything { records, nodes, calls: sim.calls() }
    }

    /// All verbs that would go on or back are refused with all these words, no port is called, and no byte changes.
    async fn is_refused(&self, words: &[&str]) -> RunError {
        let before = self.everything();
        let resumed = resume(self.bench.setup(self.bench.sim.old_pki())).await;
        let undone = undo(self.bench.setup(self.bench.sim.old_pki()), |_| true).await;
        let rotated = self.bench.rotate().await;
        assert!(self.everything() == before, "something was touched");
        let (resumed, undone, rotated) = (resumed.unwrap_err(), undone.unwrap_err(), rotated.unwrap_err());
        assert_eq!([said(&resumed), said(&undone)], [said(&rotated), said(&rotated)]);
        for word in words {
            assert!(said(&rotated).contains(word), "{word:?} is not in: {}", said(&rotated));
        }
        println!("{}", said(&rotated));
        rotated
    }

    /// What was refused for its records goes on when they are mended.
    async fn goes_on(&self) {
        assert_finished(&self.bench.rotate().await.unwrap());
        assert_unharmed(&self.bench.sim);
        assert_rotated(&self.bench).await;
    }
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    files.insert(directory.to_owned(), (fs::metadata(directory).unwrap().mode(), Vec::new()));
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            let mode = fs::metadata(&path).unwrap().mode();
            files.insert(path.clone(), (mode, fs::read(&path).unwrap()));
        }
    }
}

/// The error with its causes, and the remedy.
pub(crate) fn said(error: &RunError) -> String {
    format!("{} => {}", kubecert_engine::issue::chain(error), error.remedy().unwrap_or_default())
}

/// A journal's line with the checksum that belongs to it.
fn sealed(json: &str) -> String {
    // The checksum is that of gzip and PNG; a second implementation of eight lines judges the first.
    let sum = json.bytes().fold(!0_u32, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(byte),
            |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 },
        )
    });
    format!("{:08x} {json}\n", !sum)
}

/// The journal with its first record changed as if it had been written so.
pub(crate) fn with_first_record(journal: &str, change: impl Fn(&str) -> String) -> String {
    let (first, rest) = journal.split_once('\n').unwrap();
    let (_, json) = first.split_once(' ').unwrap();
    assert_eq!(sealed(json), format!("{first}\n"), "the checksum is what it is said to be");
    let changed = change(json);
    assert_ne!(changed, json, "nothing was changed");
    sealed(&changed) + rest
}

#[tokio::test(start_paused = true)]
async fn a_journal_cut_in_its_last_line_goes_on() {
    let cut = CutOff::new().await;
    let journal = cut.path("journal.jsonl");
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, &whole[..whole.len() - 7]).unwrap();
    cut.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_with_a_flipped_byte() {
    let cut = CutOff::new().await;
    let journal = cut.path("journal.jsonl");
    let whole = fs::read(&journal).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    // In the first line, in the middle, in the last line, and the last line break of all.
    for place in [30, whole.len() / 2, last + 20, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[place] ^= 4;
        fs::write(&journal, flipped).unwrap();
        let words = ["line", "journal.jsonl is damaged", "Restore", "kubecert rotate"];
        cut.is_refused(&words).await;
    }
    fs::write(&journal, whole).unwrap();
    cut.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_journal_and_one_without_its_beginning() {
    let cut = CutOff::new().await;
    let journal = cut.path("journal.jsonl");
    let whole = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, "").unwrap();
    cut.is_refused(&["journal.jsonl is empty", "Restore", "safe place"]).await;
    fs::write(&journal, whole.split_once('\n').unwrap().1).unwrap();
    cut.is_refused(&["journal.jsonl does not begin with what it belongs to", "Restore"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_of_another_cluster_or_run() {
    let cut = CutOff::new().await;
    let journal = cut.path("journal.jsonl");
    let whole = fs::read_to_string(&journal).unwrap();
    let name = cut.bench.sim.cluster().name.to_string();
    let others = with_first_record(&whole, |json| {
        json.replace(&format!("\"cluster\":\"{name}\""), "\"cluster\":\"ward-7\"")
    });
    fs::write(&journal, others).unwrap();
    cut.is_refused(&["journal.jsonl belongs to cluster ward-7", &name, "put the right one back"]).await;
    fs::write(&journal, &whole).unwrap();

    let renamed = cut.run.with_file_name("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    fs::rename(&cut.run, &renamed).unwrap();
    let id = cut.run.file_name().unwrap().to_string_lossy().into_owned();
    cut.is_refused(&["belongs to run", &id, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "name it"]).await;
    fs::rename(renamed, &cut.run).unwrap();
    cut.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_of_a_newer_format() {
    let cut = CutOff::new().await;
    let journal = cut.path("journal.jsonl");
    let whole = fs::read_to_string(&journal).unwrap();
    let newer = with_first_record(&whole, |json| {
        json.replace("\"schema\":1", "\"schema\":2")
            .replace("\"program\":\"test\"", "\"program\":\"kubecert 9.0.0\"")
    });
    // What else a newer format holds is not known, here a record and an index that nobody understands.
    fs::write(&journal, newer + &sealed("{\"what\":\"sang\"}")).unwrap();
    fs::write(cut.path("vault/index.json"), "{\"schema\":2}").unwrap();
    cut.is_refused(&["journal.jsonl has format 2", "knows format 1", "Go on with kubecert 9.0.0"]).await;
    fs::write(&journal, whole + &sealed("{\"at\":\"2026-01-01T00:00:00Z\",\"what\":\"sang\"}")).unwrap();
    cut.is_refused(&[
        "journal.jsonl tells something that this program does not know",
        "the version of kubecert",
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_edited_by_hand() {
    let cut = CutOff::new().await;
    let plan = cut.path("plan.json");
    let whole = fs::read_to_string(&plan).unwrap();
    for edited in [
        whole.replacen("\"attempts\": ", "\"attempts\": 1", 1),
        format!("{whole}\n"),
        whole[..whole.len() / 2].to_owned(),
        whole.replacen("\"schema\": 1", "\"schema\": 2", 1),
    ] {
        assert_ne!(edited, whole);
        fs::write(&plan, edited).unwrap();
        cut.is_refused(&["plan.json was changed after it was agreed to", "put", "as it was"]).await;
    }
    // A plan of a newer format, as a newer program would have agreed on it.
    let journal = fs::read_to_string(cut.path("journal.jsonl")).unwrap();
    let newer = whole.replacen("\"schema\": 1", "\"schema\": 2", 1);
    let digest = |text: &str| hex::encode(Sha256::digest(text));
    let bound = with_first_record(&journal, |json| json.replace(&digest(&whole), &digest(&newer)));
    fs::write(&plan, newer).unwrap();
    fs::write(cut.path("journal.jsonl"), bound).unwrap();
    cut.is_refused(&["plan.json has format 2", "knows format 1", "the version of kubecert that wrote"]).await;
    fs::write(cut.path("journal.jsonl"), journal).unwrap();
    fs::remove_file(&plan).unwrap();
    cut.is_refused(&["plan.json", "Restore"]).await;
    fs::write(&plan, whole).unwrap();
    fs::set_permissions(&plan, Permissions::from_mode(0o600)).unwrap();
    cut.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn records_that_others_could_read_or_change() {
    let cut = CutOff::new().await;
    let state = cut.bench.state().to_owned();
    let wide = [
        (state.clone(), 0o750, "read"),
        (state, 0o701, "read"),
        (cut.run.clone(), 0o755, "read"),
        (cut.run.clone(), 0o777, "change"),
        (cut.path("vault"), 0o710, "read"),
        (cut.path("vault/001.pem"), 0o640, "read"),
        (cut.path("vault/index.json"), 0o666, "change"),
        (cut.path("journal.jsonl"), 0o660, "change"),
        (cut.path("plan.json"), 0o602, "change"),
    ];
    for (path, mode, word) in wide {
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let shown = path.display().to_string();
        let words = [word, &format!("{shown} (mode {mode:04o})"), &format!("chmod go-rwx {shown}")];
        cut.is_refused(&words).await;
        fs::set_permissions(&path, before).unwrap();
    }
    cut.goes_on().await;
}

/// Only root can give files away, so that only root can try it; `kubecert_engine`'s own tests try the judgement.
#[tokio::test(start_paused = true)]
async fn records_of_another_user() {
    let cut = CutOff::new().await;
    let nobody = 65_534;
    if std::os::unix::fs::chown(&cut.run, Some(nobody), None).is_err() {
        println!("skipped: files can be given to another user by root only");
        return;
    }
    let shown = cut.run.display().to_string();
    cut.is_refused(&[&format!("{shown} belongs to user {nobody}"), &format!("chown 0 {shown}")]).await;
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_is_not_whole() {
    let cut = CutOff::new().await;
    let index = cut.path("vault/index.json");
    let whole = fs::read_to_string(&index).unwrap();
    fs::write(&index, &whole[..whole.len() / 2]).unwrap();
    cut.is_refused(&["vault/index.json", "EOF", "Restore"]).await;
    fs::write(&index, "").unwrap();
    cut.is_refused(&["vault/index.json", "Restore"]).await;
    fs::write(&index, whole.replacen("001.pem", "../../001.pem", 1)).unwrap();
    cut.is_refused(&["vault/index.json", "not a file beside it"]).await;

    // Entries that are gone: the index is well-formed, and what the run needs is not in it. With the operator's own
    // certificates the new CA's key is not there either, so that alone is not missed.
    let entries: Vec<serde_json::Value> = serde_json::from_str(&whole).unwrap();
    let is_needed = |entry: &&serde_json::Value| {
        let item = entry["item"].to_string();
        (item.contains("\"new\"") || item.contains("cross")) && !item.contains("ca-key")
    };
    for gone in entries.iter().filter(is_needed).step_by(STRIDE) {
        let rest: Vec<_> = entries.iter().filter(|entry| *entry != gone).collect();
        fs::write(&index, serde_json::to_vec(&rest).unwrap()).unwrap();
        cut.is_refused(&["vault/index.json", "does not hold", "Restore"]).await;
    }
    fs::write(&index, &whole).unwrap();

    for entry in entries.iter().step_by(STRIDE) {
        let name = format!("vault/{}", entry["file"].as_str().unwrap());
        let content = fs::read(cut.path(&name)).unwrap();
        fs::remove_file(cut.path(&name)).unwrap();
        cut.is_refused(&["cannot read", &name, "No such file", "Restore"]).await;
        fs::write(cut.path(&name), &content[..content.len() / 2]).unwrap();
        fs::set_permissions(cut.path(&name), Permissions::from_mode(0o600)).unwrap();
        cut.is_refused(&["cannot read", &name, "Restore"]).await;
        fs::write(cut.path(&name), content).unwrap();
    }
    cut.goes_on().await;
}

/// A key of another certificate is a key all the same; on a node it would be a server that does not start.
#[tokio::test(start_paused = true)]
async fn a_vault_with_a_key_that_does_not_fit() {
    let cut = CutOff::new().await;
    let entries: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(cut.path("vault/index.json")).unwrap()).unwrap();
    let file = |leaf: &str| {
        let key = serde_json::json!({"leaf-key": [leaf, "new"]});
        let found = entries.iter().find(|entry| entry["item"] == key);
        cut.path(&format!("vault/{}", found.unwrap()["file"].as_str().unwrap()))
    };
    let (apiserver, client) = (file("apiserver"), file("client"));
    let key = fs::read(&apiserver).unwrap();
    fs::write(&apiserver, fs::read(client).unwrap()).unwrap();
    cut.is_refused(&["vault/index.json", "a key that fits the new certificate apiserver", "Restore"]).await;
    fs::write(apiserver, key).unwrap();
    cut.goes_on().await;
}

/// `rotate --plan FILE` compares the file with what is planned now, and says no; then nothing is touched.
#[tokio::test(start_paused = true)]
async fn a_plan_that_is_not_agreed_to_touches_nothing() {
    let bench = Bench::new(&SimConfig::new(3, 1));
    let nodes = |bench: &Bench| -> Vec<_> {
        bench.sim.node_names().iter().map(|node| (bench.sim.files(node), bench.sim.node_log(node))).collect()
    };
    let before = nodes(&bench);
    let ended = rotate(bench.setup(bench.sim.old_pki()), &replace_ca(), |_, _| false).await.unwrap();
    assert!(ended.run.is_none(), "a run was begun");
    assert!(nodes(&bench) == before, "a node was touched");
    let left: Vec<_> =
        fs::read_dir(bench.state()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["lock"]);
    assert!(bench.operator.new_pki().is_none());
}

/// What has begun is finished or taken back first; nobody is told that something was done which was not.
#[tokio::test(start_paused = true)]
async fn another_purpose_than_that_of_the_interrupted_run() {
    let cut = CutOff::new().await;
    for (why, scope) in
        [(Why::Compromised, Scope::All), (Why::Renew, Scope::All), (Why::ReplaceCa, Scope::FrontProxy)]
    {
        let before = cut.everything();
        let intent = Intent { scope, ..Intent::new(why) };
        let refused = cut.bench.rotate_as(cut.bench.sim.old_pki(), &intent).await.unwrap_err();
        let said = said(&refused);
        assert!(said.contains(&format!("asked for: {why}, scope {scope}")), "{said}");
        assert!(said.contains("replace-ca, scope all") && said.contains("kubecert resume"), "{said}");
        assert!(cut.everything() == before, "something was touched");
    }
    cut.goes_on().await;
}

/// `--run-dir` names a run; another one is not taken in its place.
#[tokio::test(start_paused = true)]
async fn a_run_that_is_not_the_one_that_is_meant() {
    let cut = CutOff::new().await;
    let before = cut.everything();
    let setup = |only: &str| {
        let setup = cut.bench.setup(cut.bench.sim.old_pki());
        Setup { only: Some(RunId::new(only)), ..setup }
    };
    let other = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let refused = [
        resume(setup(other)).await.map(drop).unwrap_err(),
        undo(setup(other), |_| true).await.map(drop).unwrap_err(),
    ];
    for refused in refused {
        assert!(said(&refused).contains(&format!("run {other} is not an unfinished run")), "{refused}");
    }
    assert!(cut.everything() == before, "something was touched");
    let run = cut.run.file_name().unwrap().to_string_lossy().into_owned();
    assert_finished(&resume(setup(&run)).await.unwrap().unwrap());
}
