//! What comes from other machines: host keys that the operator was given, and what a node answers.

use kubecert_remote::fuzzing;

/// `known_hosts` files: read, and asked about a host in each of its spellings.
pub fn known_hosts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for (host, port) in [("k8s-master-11223509-0", 22), ("node1", 2222)] {
        let _kinds = fuzzing::known_hosts(text, host, port);
    }
}

/// The answer to a look at a node. A node may be in anybody's hands.
pub fn look(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(facts) = fuzzing::look_answer(text) {
        assert!(facts.files.len() <= text.lines().count(), "every file stands on a line");
    }
}
