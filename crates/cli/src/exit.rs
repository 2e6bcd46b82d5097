//! How the program ends, as the shell sees it.

use std::process::ExitCode;

/// The exit codes. Each has one meaning, and none is ever reused for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: what was asked for was done, or there was nothing to do.
    Done,
    /// 1: it failed.
    Failed,
    /// 2: the command line cannot be understood; nothing was looked at.
    Usage,
    /// 3: `check`, `verify` or `assess` found something that needs attention. Looking itself went well.
    Findings,
    /// 4: a run stopped at a safe point; the cluster serves, and `resume` goes on.
    Stopped,
}

impl Exit {
    /// The number that the shell gets.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Findings => 3,
            Exit::Stopped => 4,
        }
    }

    /// The same, for `rotate-certs`: its ancestor knows 0 and 1 only, and scripts around it compare with these.
    pub(crate) const fn as_ancestor(self) -> Self {
        match self {
            Exit::Done => Exit::Done,
            Exit::Failed | Exit::Usage | Exit::Findings | Exit::Stopped => Exit::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotate_certs_knows_only_zero_and_one() {
        let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Findings, Exit::Stopped];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4]);
        assert_eq!(all.map(|exit| exit.as_ancestor().code()), [0, 1, 1, 1, 1]);
    }
}
