//! Running a script on a node, whatever carries it there.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubecert_engine::ports::{Fault, PortError, PortResult};
use zeroize::Zeroizing;

/// What every script begins with.
const COMMON: &str = include_str!("scripts/common.sh");

/// The same on Windows.
const WINDOWS_COMMON: &str = include_str!("scripts/windows/common.ps1");

/// What a script is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    /// POSIX shell, run as root.
    Shell,
    /// PowerShell, run by an administrator.
    PowerShell,
}

/// An operation to be run as root on a node.
pub(crate) struct Job {
    /// Its name in process lists and in the node's log.
    name: &'static str,
    language: Language,
    /// The whole text of the script.
    script: String,
    /// Its parameters. They can be seen in process lists and in sudo's log, so nothing secret may be among them.
    args: Vec<String>,
    /// What it reads from standard input.
    input: Zeroizing<Vec<u8>>,
    /// How long it may take.
    limit: Duration,
    /// What is being done to what, for errors.
    what: String,
}

impl Job {
    /// A job made of these parts of script, one after another.
    pub(crate) fn new(name: &'static str, parts: &[&str], limit: Duration, what: impl Into<String>) -> Self {
        let script = assemble(parts);
        let language = Language::Shell;
        Self {
            name,
            language,
            script,
            args: Vec::new(),
            input: Zeroizing::default(),
            limit,
            what: what.into(),
        }
    }

    /// The same in PowerShell. Its parameters are the first lines of its input.
    pub(crate) fn windows(
        name: &'static str,
        parts: &[&str],
        limit: Duration,
        what: impl Into<String>,
    ) -> Self {
        let script = assemble_windows(parts);
        let language = Language::PowerShell;
        Self {
            name,
            language,
            script,
            args: Vec::new(),
            input: Zeroizing::default(),
            limit,
            what: what.into(),
        }
    }

    /// Adds a parameter.
    pub(crate) fn arg(mut self, arg: impl fmt::Display) -> Self {
        self.args.push(arg.to_string());
        self
    }

    /// Sets what the script reads from standard input.
    pub(crate) fn input(mut self, input: Zeroizing<Vec<u8>>) -> Self {
        self.input = input;
        self
    }

    /// The command line for the user's login shell.
    ///
    /// The script comes first on standard input. `head` takes exactly its length from a pipe, and `read` takes single
    /// lines, so what follows stays for the script.
    pub(crate) fn command(&self, sudo: bool) -> String {
        if self.language == Language::PowerShell {
            return windows_command(self.name);
        }
        let sudo = if sudo { "sudo -n " } else { "" };
        let mut command = format!(
            "exec {sudo}/bin/sh -c 'text=$(head -c \"$1\") && shift && eval \"$text\"' kubecert-{} {}",
            self.name,
            self.script.len()
        );
        for arg in &self.args {
            command.push(' ');
            command.push_str(&quoted(arg));
        }
        command
    }

    /// Everything that goes to standard input.
    pub(crate) fn stream(&self) -> Zeroizing<Vec<u8>> {
        let mut stream = Zeroizing::new(Vec::with_capacity(self.script.len() + self.input.len() + 8));
        if self.language == Language::PowerShell {
            stream.extend_from_slice(format!("{}\n", self.script.lines().count()).as_bytes());
        }
        stream.extend_from_slice(self.script.as_bytes());
        stream.extend_from_slice(&self.input);
        stream
    }

    /// How long it may take.
    pub(crate) const fn limit(&self) -> Duration {
        self.limit
    }

    /// What is being done to what.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// An error of this job.
    pub(crate) fn error(&self, fault: Fault, cause: impl fmt::Display) -> PortError {
        PortError::new(fault, &self.what, cause)
    }
}

/// The prelude and these parts as one script.
pub(crate) fn assemble(parts: &[&str]) -> String {
    let mut script = COMMON.to_owned();
    for part in parts {
        script.push_str(part);
    }
    script
}

/// The same for Windows.
pub(crate) fn assemble_windows(parts: &[&str]) -> String {
    let mut script = WINDOWS_COMMON.to_owned();
    for part in parts {
        script.push_str(part);
    }
    // Otherwise the exit code says whether the last command succeeded, be it one that may fail.
    script.push_str("exit 0\n");
    script
}

/// What runs a script on Windows: it takes the lines of standard input, the first of which says how many lines of script
/// follow it, and runs these with the rest at hand.
///
/// `powershell -Command -` would run standard input line by line, as if typed: a failure would not end it, and contents
/// behind the script would be run as commands. `$input` has everything before anything runs.
const WINDOWS_BEGINNING: &str = "$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue';$all=@($input);\
    $count=[int]$all[0];$text=[string]::Join(\"`n\",$all[1..$count]);$lines=@();\
    if($all.Count-gt$count+1){$lines=@($all[($count+1)..($all.Count-1)])};. ([scriptblock]::Create($text))";

/// The command line on Windows. The login shell may be cmd.exe, PowerShell or a POSIX shell; none of them finds anything
/// to expand or to quote in base64.
pub(crate) fn windows_command(name: &str) -> String {
    let beginning = format!("$act='{name}';{WINDOWS_BEGINNING}");
    let utf16: Vec<u8> = beginning.encode_utf16().flat_map(u16::to_le_bytes).collect();
    format!(
        "powershell -NoProfile -NonInteractive -ExecutionPolicy Bypass -OutputFormat Text -EncodedCommand {}",
        STANDARD.encode(utf16)
    )
}

/// What came of a job.
pub(crate) struct Output {
    /// The exit code; `None` if the process was ended by a signal.
    pub(crate) status: Option<u32>,
    /// Standard output, which may hold secrets.
    pub(crate) stdout: Zeroizing<Vec<u8>>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
    /// When the first byte of standard output arrived, by our clock.
    pub(crate) answered: Option<SystemTime>,
    /// How long a message takes to the node and back.
    pub(crate) round_trip: Duration,
}

/// Carries jobs to one node.
#[async_trait]
pub(crate) trait Exec: Send + Sync {
    /// Runs a job to its end. An error means that its outcome is not known.
    async fn output(&self, job: &Job) -> PortResult<Output>;

    /// Runs a job and turns failure on the node into an error.
    async fn run(&self, job: Job) -> PortResult<Output> {
        let output = self.output(&job).await?;
        match output.status {
            Some(0) => Ok(output),
            status => Err(failure(&job, status, &output.stderr)),
        }
    }
}

/// The most of a node's standard error that goes into an error message.
const CAUSE_LIMIT: usize = 600;

/// Says why a script failed. The exit codes are those of `common.sh`.
fn failure(job: &Job, status: Option<u32>, stderr: &[u8]) -> PortError {
    let text = String::from_utf8_lossy(stderr);
    let mut cause =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    if let Some((cut, _)) = cause.char_indices().nth(CAUSE_LIMIT) {
        cause.truncate(cut);
    }
    let said = |cause: String| if cause.is_empty() { "it gave no reason".to_owned() } else { cause };
    match status {
        Some(64) => job.error(Fault::Unexpected, said(cause)),
        Some(65) => job.error(Fault::Failed, said(cause)).remedy(
            "Free some space on that file system of the node, then run the same command again; the file that was \
             there is untouched.",
        ),
        Some(66) => job
            .error(Fault::Failed, said(cause))
            .remedy("Install it on the node, then run the same command again."),
        Some(67) if job.language == Language::PowerShell => job.error(Fault::Timeout, said(cause)).remedy(
            "Look at the node's c:\\k\\kubelet.err.log for why it does not start, then run the same command again.",
        ),
        Some(67) => job.error(Fault::Timeout, said(cause)).remedy(
            "Look at the node's journal (`journalctl -u kubelet -u etcd`) for why it does not start, then run the \
             same command again.",
        ),
        Some(68) => job.error(Fault::Failed, said(cause)),
        Some(_) if cause.contains("sudo: ") || cause.contains("sudoers") => job
            .error(Fault::Refused, cause)
            .remedy("Give the SSH user passwordless sudo on the node: kubecert acts as root there."),
        Some(127) if cause.contains("sudo") => job
            .error(Fault::Failed, cause)
            .remedy("Install sudo on the node: kubecert acts as root there."),
        Some(code) => job.error(Fault::Failed, format!("{} (exit code {code})", said(cause))),
        None => job.error(Fault::Unreachable, format!("the script was cut off; {}", said(cause))),
    }
}

/// Quotes a word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for word in ["", "plain", "a b", "it's", "$(reboot)", "`id`", "a\nb", "*", "\\", "ü\"'"] {
            let out = std::process::Command::new("/bin/sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output()
                .expect("sh runs");
            assert_eq!(String::from_utf8_lossy(&out.stdout), word);
        }
    }

    #[test]
    fn the_command_line_holds_neither_script_nor_content() {
        let job = Job::new("write", &["echo hi\n"], Duration::from_secs(1), "cannot write")
            .arg("01ABC")
            .input(Zeroizing::new(b"secret".to_vec()));
        let command = job.command(true);
        assert!(command.starts_with("exec sudo -n /bin/sh -c "), "{command}");
        assert!(command.ends_with(&format!(" kubecert-write {} 01ABC", job.script.len())), "{command}");
        assert!(!command.contains("secret") && !command.contains("echo hi"), "{command}");
        assert!(job.stream().ends_with(b"secret"));
    }

    #[test]
    fn failures_name_cause_and_remedy() {
        let job = Job::new("write", &[], Duration::from_secs(1), "cannot write /a on n1");
        let full = failure(&job, Some(65), b"cannot write /a: head: No space left on device\n");
        assert_eq!(full.to_string(), "cannot write /a on n1: cannot write /a: head: No space left on device");
        assert!(full.remedy.as_deref().is_some_and(|remedy| remedy.contains("space")));
        let sudo = failure(&job, Some(1), b"sudo: a password is required\n");
        assert_eq!(sudo.fault, Fault::Refused);
        assert!(!sudo.is_transient());
        assert!(failure(&job, None, b"").is_transient());
    }
}
