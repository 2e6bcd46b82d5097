//! Records of an undo that are damaged or changed: refused with the reason and the way on, nothing touched.

use std::fs;

use kubecert_core::event::RunOutcome;
use kubecert_engine::run::{Ended, RunError};
use kubecert_engine::undo::undo;

use crate::bad_input::{CutOff, said, with_first_record};
use crate::support::assert_unharmed;

/// After how many events of its own the undo is cut off: with nodes put back and more to come.
const CUT_AFTER: i64 = 40;

/// A cluster with a run that was cut off, and whose undo was cut off in turn.
async fn cut_off_again() -> CutOff {
    let cut = CutOff::new().await;
    cut.bench.cut_off_after(CUT_AFTER);
    tokio::select! {
        ended = go_back(&cut) => panic!("it ended: {ended:?}"),
        () = cut.bench.cut.notified() => {}
    }
    assert!(cut.path("undo.jsonl").exists() && cut.path("undo-plan.json").exists());
    cut
}

async fn go_back(cut: &CutOff) -> Result<Option<Ended>, RunError> {
    undo(cut.bench.setup(cut.bench.sim.old_pki()), |_| true).await
}

async fn is_refused(cut: &CutOff, words: &[&str]) {
    let before = cut.everything();
    let refused = said(&go_back(cut).await.unwrap_err());
    assert!(cut.everything() == before, "something was touched");
    for word in words {
        assert!(refused.contains(word), "{word:?} is not in: {refused}");
    }
    println!("{refused}");
}

/// What was refused for its records goes back when they are mended.
async fn goes_back(cut: &CutOff) {
    let ended = go_back(cut).await.unwrap().unwrap();
    assert_eq!(ended.report.outcome, RunOutcome::Undone);
    assert_unharmed(&cut.bench.sim);
}

#[tokio::test(start_paused = true)]
async fn a_journal_cut_in_its_last_line_goes_back() {
    let cut = cut_off_again().await;
    let journal = cut.path("undo.jsonl");
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, &whole[..whole.len() - 7]).unwrap();
    goes_back(&cut).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_damaged_or_emptied() {
    let cut = cut_off_again().await;
    let journal = cut.path("undo.jsonl");
    let whole = fs::read(&journal).unwrap();
    for place in [30, whole.len() / 2] {
        let mut flipped = whole.clone();
        flipped[place] ^= 4;
        fs::write(&journal, flipped).unwrap();
        is_refused(&cut, &["undo.jsonl is damaged", "Restore"]).await;
    }
    fs::write(&journal, "").unwrap();
    is_refused(&cut, &["undo.jsonl is empty", "Restore"]).await;
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(&journal, &whole[first..]).unwrap();
    is_refused(&cut, &["undo.jsonl does not begin with what it belongs to", "Restore"]).await;
    fs::write(&journal, whole).unwrap();
    goes_back(&cut).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_of_another_cluster() {
    let cut = cut_off_again().await;
    let journal = cut.path("undo.jsonl");
    let whole = fs::read_to_string(&journal).unwrap();
    let name = cut.bench.sim.cluster().name.to_string();
    let others = with_first_record(&whole, |json| {
        json.replace(&format!("\"cluster\":\"{name}\""), "\"cluster\":\"ward-7\"")
    });
    fs::write(&journal, others).unwrap();
    is_refused(&cut, &["undo.jsonl belongs to cluster ward-7", "put the right one back"]).await;
    fs::write(&journal, whole).unwrap();
    goes_back(&cut).await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_edited_by_hand_or_gone() {
    let cut = cut_off_again().await;
    let plan = cut.path("undo-plan.json");
    let whole = fs::read_to_string(&plan).unwrap();
    for edited in [
        whole.replacen("\"attempts\": ", "\"attempts\": 1", 1),
        whole[..whole.len() / 2].to_owned(),
        String::new(),
    ] {
        assert_ne!(edited, whole);
        fs::write(&plan, edited).unwrap();
        is_refused(&cut, &["undo-plan.json was changed after it was agreed to", "as it was"]).await;
    }
    fs::remove_file(&plan).unwrap();
    is_refused(&cut, &["undo-plan.json", "Restore"]).await;
    fs::write(&plan, whole).unwrap();
    fs::set_permissions(&plan, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    goes_back(&cut).await;
}
