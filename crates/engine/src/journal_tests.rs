//! What a journal survives, and what it refuses without a change.

use kubecert_core::plan::StepId;
use kubecert_core::record::What;

use super::*;

fn records() -> Vec<Record> {
    (1..=3)
        .map(|step| Record {
            at: jiff::Timestamp::UNIX_EPOCH,
            what: What::Started { step: StepId(step), attempt: 1 },
        })
        .collect()
}

/// A journal with these bytes, and what reading says of it. The bytes must be the same afterwards.
fn read_bytes(bytes: &[u8]) -> Result<Vec<Record>, JournalError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    std::fs::write(&path, bytes).unwrap();
    let found = read(&path);
    if found.is_err() {
        assert!(Journal::open(&path).is_err(), "what cannot be read cannot be opened");
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "reading changed the file");
    found
}

fn whole() -> Vec<u8> {
    lines(&records()).unwrap().into_bytes()
}

#[test]
fn what_was_appended_is_read_again_and_a_torn_tail_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    Journal::begin(&path, &records()).unwrap().append(&records()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(read(&path).unwrap().len(), 6);
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in first..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (mut journal, read) = Journal::open(&path).unwrap();
        assert!(records().starts_with(&read[..read.len().min(3)]));
        journal.append(&records()).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1.len(), read.len() + 3);
    }
    for cut in 0..first {
        assert!(matches!(read_bytes(&whole[..cut]), Err(JournalError::Empty { .. })), "cut at {cut}");
    }
}

/// A line break that is no more makes two lines one, or leaves a whole record behind which something else stands.
#[test]
fn any_flipped_bit_is_refused() {
    let whole = whole();
    for place in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << bit;
            let found = read_bytes(&bytes);
            // Hexadecimal digits of the checksum may be upper or lower case.
            let same = found.as_ref().is_ok_and(|found| *found == records());
            let damaged = matches!(found, Err(JournalError::Damaged { .. }));
            assert!(damaged || same, "byte {place} bit {bit}: {found:?}");
        }
    }
}

#[test]
fn a_damaged_line_is_named_with_the_way_on() {
    let mut bytes = whole();
    bytes[20] ^= 1;
    let error = read_bytes(&bytes).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { line: 1, .. }), "{error}");
    for text in [error.to_string(), error.remedy()] {
        assert!(text.contains("journal.jsonl"), "{text}");
    }
    assert!(error.remedy().contains("kubecert rotate"), "{}", error.remedy());
}

#[test]
fn a_newer_format_is_told_from_damage_whatever_else_it_says() {
    let newer =
        sealed(r#"{"when":0,"what":{"bound":{"schema":7,"program":"kubecert 9.1.0"}}}"#) + &sealed("[1,2]");
    let error = read_bytes(newer.as_bytes()).unwrap_err();
    assert!(matches!(error, JournalError::Format { found: 7, .. }), "{error}");
    assert!(error.remedy().contains("kubecert 9.1.0"), "{}", error.remedy());
    let unknown = lines(&records()).unwrap() + &sealed(r#"{"at":"1970-01-01T00:00:00Z","what":"sang"}"#);
    let error = read_bytes(unknown.as_bytes()).unwrap_err();
    assert!(matches!(error, JournalError::Unknown { line: 4, .. }), "{error}");
}

#[test]
fn a_second_journal_never_overwrites_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    Journal::begin(&path, &records()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(Journal::begin(&path, &records()[..1]).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "a temporary file is left");
}
