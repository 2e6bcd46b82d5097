//! What clients of an authority read, and what anybody may send to one.

use kubecert_cloud::authority::{AccessFile, LoginFile, fuzzing};

/// Login files and access files are the same when written and read again; what nobody has signed opens nothing.
pub fn authority(data: &[u8]) {
    let Some((kind, rest)) = crate::choice(data) else { return };
    if kind == b'M' {
        return fuzzing::messages(rest);
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match kind {
        b'L' => {
            let Ok(file) = LoginFile::parse(text) else { return };
            let again = LoginFile::parse(&file.to_yaml()).expect("what was written can be read");
            assert_eq!((file.name, file.roots), (again.name, again.roots));
            assert_eq!((file.address, file.location), (again.address, again.location));
        }
        b'A' => {
            let Ok(file) = AccessFile::parse(text) else { return };
            let written = file.to_json().expect("it can be written");
            let written = std::str::from_utf8(&written).expect("JSON is text");
            let again = AccessFile::parse(written).expect("what was written can be read");
            assert_eq!((file.chain(), &file.roots), (again.chain(), &again.roots));
            assert_eq!(file.identity, again.identity);
        }
        b'R' => assert!(!fuzzing::renewal(text), "nobody has a certificate"),
        _ => assert!(!fuzzing::token(text), "nobody has signed it"),
    }
}
