//! Reading `known_hosts` files as OpenSSH does.
//!
//! Our own matcher over `ssh_key`'s parser, since russh's helper accepts revoked keys, knows no patterns and takes the
//! second key of a host for a changed one. See `sshd(8)`, "SSH_KNOWN_HOSTS FILE FORMAT".

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use kubecert_engine::ports::{Fault, PortError, PortResult};
use russh::keys::PublicKey;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};

/// The port that `known_hosts` leaves out.
const SSH_PORT: u16 = 22;

/// One line that holds a key.
#[derive(Clone, Debug)]
pub(crate) struct KnownKey {
    file: PathBuf,
    line: usize,
    entry: Entry,
}

/// How a line speaks of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The host has this key.
    Trusted,
    /// Nobody with this key may be trusted.
    Revoked,
}

impl KnownKey {
    /// How this line speaks of the host, if at all. Authorities for host certificates are passed over: we never ask for a
    /// host certificate, so such a line can neither vouch for a key nor contradict one.
    pub(crate) fn about(&self, name: &str) -> Option<Kind> {
        let kind = match self.entry.marker() {
            None => Kind::Trusted,
            Some(Marker::Revoked) => Kind::Revoked,
            Some(Marker::CertAuthority) => return None,
        };
        matches(self.entry.host_patterns(), name).then_some(kind)
    }

    /// The names of the hosts that it speaks of, in lower case, if they can be told without trying a name.
    fn names(&self) -> Option<Vec<String>> {
        let HostPatterns::Patterns(patterns) = self.entry.host_patterns() else { return None };
        let plain = |pattern: &String| !pattern.contains(['*', '?', '!']);
        patterns.iter().all(plain).then(|| patterns.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// The key.
    pub(crate) fn key(&self) -> &PublicKey {
        self.entry.public_key()
    }

    /// Where the line stands, for messages.
    pub(crate) fn place(&self) -> String {
        format!("{} line {}", self.file.display(), self.line)
    }
}

/// The lines of some files, found by host.
///
/// A line that names its hosts in full, as ours all do, is found by name; lines with patterns, hashed names and denials
/// are tried one after the other. So a cluster of thousands of pinned nodes costs no search for each login.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys {
    lines: Vec<KnownKey>,
    by_name: HashMap<String, Vec<usize>>,
    others: Vec<usize>,
}

impl KnownKeys {
    /// Adds lines, which come after those that are there.
    pub(crate) fn extend(&mut self, lines: impl IntoIterator<Item = KnownKey>) {
        for line in lines {
            let position = self.lines.len();
            match line.names() {
                Some(names) => {
                    for name in names {
                        self.by_name.entry(name).or_default().push(position);
                    }
                }
                None => self.others.push(position),
            }
            self.lines.push(line);
        }
    }

    /// The lines that speak of a host in this way, in their order.
    pub(crate) fn about(&self, name: &str, kind: Kind) -> impl Iterator<Item = &KnownKey> {
        let named = self.by_name.get(&name.to_ascii_lowercase()).into_iter().flatten();
        let positions: BTreeSet<usize> = named.chain(&self.others).copied().collect();
        let lines: Vec<&KnownKey> = positions.into_iter().map(|position| &self.lines[position]).collect();
        lines.into_iter().filter(move |line| line.about(name) == Some(kind))
    }
}

/// The name under which a host is looked for: `host`, or `[host]:port` where the port is another than 22.
pub(crate) fn lookup_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == SSH_PORT { host } else { format!("[{host}]:{port}") }
}

/// Reads the keys of a file; a file that does not exist holds none.
pub(crate) fn read(path: &Path) -> PortResult<Vec<KnownKey>> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(PortError::new(
            Fault::Failed,
            format!("cannot read the host keys in {}", path.display()),
            source,
        )
        .remedy("Make the file readable, or name another one.")),
    }
}

/// Reads one line that was appended to a file as its `number`th.
pub(crate) fn read_line(path: &Path, number: usize, line: &str) -> PortResult<Option<KnownKey>> {
    let lines = parse(path, line)?;
    Ok(lines.into_iter().next().map(|known| KnownKey { line: number, ..known }))
}

/// Reads the lines of a file. As with OpenSSH a line that cannot be read counts for nothing, with one exception: what was
/// meant to revoke a key must not be overlooked.
pub(crate) fn parse(path: &Path, text: &str) -> PortResult<Vec<KnownKey>> {
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // The parser wants single blanks; people use tabs as well.
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.first().is_none_or(|first| first.starts_with('#')) {
            continue;
        }
        match fields.join(" ").parse::<Entry>() {
            Ok(entry) => keys.push(KnownKey { file: path.to_owned(), line: index + 1, entry }),
            Err(source) if fields[0].eq_ignore_ascii_case("@revoked") => {
                let what =
                    format!("cannot read the revoked host key in {} line {}", path.display(), index + 1);
                return Err(PortError::new(Fault::Failed, what, source).remedy(
                    "Correct or remove that line; kubecert will not guess which key it was to revoke.",
                ));
            }
            Err(source) => {
                tracing::debug!(file = %path.display(), line = index + 1, %source, "skipped a host key that cannot be read");
            }
        }
    }
    Ok(keys)
}

fn matches(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::sign(&key, name.as_bytes()).as_ref() == hash
        }
        HostPatterns::Patterns(patterns) => {
            let mut matched = false;
            for pattern in patterns {
                match pattern.strip_prefix('!') {
                    // One denial outweighs everything else in the line.
                    Some(denied) if glob(denied.as_bytes(), name.as_bytes()) => return false,
                    Some(_) => {}
                    None => matched |= glob(pattern.as_bytes(), name.as_bytes()),
                }
            }
            matched
        }
    }
}

/// Matches `*` and `?`, upper and lower case alike. Linear in memory and at most quadratic in time.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut next) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while next < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, next));
                at += 1;
            }
            Some(&c) if c == b'?' || c.eq_ignore_ascii_case(&name[next]) => {
                at += 1;
                next += 1;
            }
            _ => match &mut star {
                // Let the last star swallow one character more.
                Some((after, from)) => {
                    *from += 1;
                    (at, next) = (*after, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    /// What OpenSSH's own tool finds for a name in a file of these lines.
    fn openssh_finds(text: &str, name: &str) -> bool {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("known_hosts");
        std::fs::write(&path, text).expect("it is written");
        let out = std::process::Command::new("ssh-keygen").arg("-F").arg(name).arg("-f").arg(&path).output();
        out.expect("ssh-keygen runs").stdout.windows(7).any(|window| window == b"# Host ")
    }

    #[test]
    fn patterns_match_as_with_ssh_keygen() {
        let patterns = [
            "node1",
            "NODE1",
            "node*",
            "node?",
            "n*1",
            "*",
            "?????",
            "*.example.org,node1",
            "!node1,*",
            "*,!node1",
            "!other,node1",
            "[node1]:2222",
            "[node*]:22*",
            "[node1]:22",
            "node1,[node1]:2222",
            "*0*",
            "",
            "[*]:*",
            "node1,",
            "node11",
            "n**1",
            "[node1",
            "node1\\",
        ];
        let names = [
            ("node1", 22),
            ("node1", 2222),
            ("node11", 22),
            ("other", 22),
            ("k8s-master-1-0", 22),
            ("10.0.0.4", 50001),
        ];
        for pattern in patterns {
            let text = format!("{pattern} {KEY}\n");
            for (host, port) in names {
                let name = lookup_name(host, port);
                let ours = parse(Path::new("f"), &text)
                    .expect("it is read")
                    .iter()
                    .any(|key| key.about(&name).is_some());
                assert_eq!(ours, openssh_finds(&text, &name), "{name} in `{pattern}`");
            }
        }
    }

    #[test]
    fn hashed_names_match_as_with_ssh_keygen() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("known_hosts");
        std::fs::write(&path, format!("node1 {KEY}\n[node2]:2222 {KEY}\n")).expect("it is written");
        let hashed = std::process::Command::new("ssh-keygen").args(["-H", "-f"]).arg(&path).output();
        assert!(hashed.expect("ssh-keygen runs").status.success());
        let keys = read(&path).expect("it is read");
        let found = |host, port| keys.iter().any(|key| key.about(&lookup_name(host, port)).is_some());
        assert!(found("node1", 22) && found("node2", 2222) && found("NODE1", 22));
        assert!(!found("node1", 2222) && !found("node2", 22) && !found("node3", 22));
    }

    #[test]
    fn markers_and_odd_lines_are_read() {
        let text = format!(
            "# comment\n\n@cert-authority * {KEY}\n@revoked\t*  {KEY} why\nnode1 not-a-key\nnode2\tssh-dss AAAA\n\
             node3 {KEY} me@there # and more\n"
        );
        let keys = parse(Path::new("f"), &text).expect("it is read");
        assert_eq!(keys.len(), 3);
        assert_eq!(keys[0].about("any"), None);
        assert_eq!(keys[1].about("any"), Some(Kind::Revoked));
        assert_eq!(keys[2].about("node3"), Some(Kind::Trusted));
        assert_eq!(keys[2].place(), "f line 7");
        let broken = parse(Path::new("f"), "@revoked * ssh-ed25519 AAAA\n")
            .expect_err("a revocation is never skipped");
        assert!(broken.to_string().contains("f line 1"), "{broken}");
    }
}
