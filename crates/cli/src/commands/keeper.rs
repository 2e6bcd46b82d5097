//! `kubecert authority renew --watch`: keeps an access file good for as long as it runs.
//!
//! It sleeps until the certificate is due, or until it is time to ask for new CAs, renews, and begins again. What fails is told
//! and tried again; only what no time heals ends it.

use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubecert_cloud::authority::{AccessFile, MocCode, RENEWAL_RETRY_PERCENT};
use kubecert_engine::ports::Clock;

use crate::errors::CliError;

/// How long it sleeps at most. A CA that is being replaced is learned of within this, and its overlap lasts days; and a machine
/// that was asleep, or whose clock was set, is not far behind.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long it sleeps at least, so that a certificate of some seconds keeps nobody busy.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long it waits at least after a failure: an authority that restarts is back by then.
const SHORTEST_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What a round of renewal has come to.
pub(super) struct Round {
    /// Until when the certificate is good, and from when on it is due.
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
    pub(super) due: Timestamp,
}

impl Round {
    pub(super) fn of(access: &AccessFile) -> Self {
        let certificate = access.certificate();
        Self { begins: certificate.not_before(), ends: certificate.not_after(), due: access.renewal_due() }
    }
}

/// Why a round has failed, and whether time may heal it.
pub(super) struct Failed {
    pub(super) error: CliError,
    pub(super) code: Option<MocCode>,
}

/// Renews for ever, or until `stop` comes; `fail` is told what did not work.
///
/// # Errors
///
/// What no time heals: an identity that was revoked.
pub(super) async fn keep<R, S>(
    clock: &dyn Clock,
    mut renew: impl FnMut() -> R,
    mut sleep: impl FnMut(Duration) -> S,
    mut fail: impl FnMut(&CliError),
    stop: impl Future<Output = ()>,
) -> Result<(), CliError>
where
    R: Future<Output = Result<Round, Failed>>,
    S: Future<Output = ()>,
{
    let rounds = async {
        let mut life = None;
        loop {
            let pause = match renew().await {
                Ok(round) => {
                    life = Some(round.ends.duration_since(round.begins));
                    until(round.due, clock.now())
                }
                Err(Failed { error, code: Some(MocCode::Revoked) }) => return Err(error),
                Err(Failed { error, .. }) => {
                    fail(&error);
                    after_failure(life)
                }
            };
            sleep(pause).await;
        }
    };
    tokio::select! {
        ended = rounds => ended,
        () = stop => Ok(()),
    }
}

/// How long until then, within the bounds.
fn until(due: Timestamp, now: Timestamp) -> Duration {
    let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
    left.clamp(SHORTEST, LONGEST)
}

/// How long is waited after a failure: the part of the certificate's life after which public clients try again.
fn after_failure(life: Option<SignedDuration>) -> Duration {
    let part = life.map_or(Duration::ZERO, |life| {
        let millis = life.as_millis().max(0) * i128::from(RENEWAL_RETRY_PERCENT) / 100;
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    });
    part.clamp(SHORTEST_AFTER_FAILURE, LONGEST)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::ready;
    use std::sync::Mutex;

    use super::*;
    use crate::errors::Kind;

    struct Hands(Mutex<Timestamp>);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Plays a list of answers, and gives the pauses between them and how often something was told to have failed.
    async fn play(answers: Vec<Result<Round, Failed>>) -> (Vec<u64>, usize, Result<(), CliError>) {
        let clock = Hands(Mutex::new(at(0)));
        let (answers, pauses, told) =
            (RefCell::new(answers.into_iter()), RefCell::new(Vec::new()), RefCell::new(0));
        let (done, over) = tokio::sync::oneshot::channel::<()>();
        let done = RefCell::new(Some(done));
        let renew = || {
            let next = answers.borrow_mut().next();
            let last = next.is_none();
            if last {
                drop(done.borrow_mut().take());
            }
            async move {
                match next {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            }
        };
        let sleep = |pause: Duration| {
            pauses.borrow_mut().push(pause.as_secs());
            let mut now = clock.0.lock().unwrap();
            *now = now.checked_add(SignedDuration::try_from(pause).unwrap()).unwrap();
            ready(())
        };
        let ended =
            keep(&clock, renew, sleep, |_| *told.borrow_mut() += 1, async move { drop(over.await) }).await;
        (pauses.into_inner(), told.into_inner(), ended)
    }

    fn round(begins: i64, ends: i64, due: i64) -> Result<Round, Failed> {
        Ok(Round { begins: at(begins), ends: at(ends), due: at(due) })
    }

    fn failed(code: Option<MocCode>) -> Result<Round, Failed> {
        Err(Failed { error: CliError::new(Kind::Input, "no"), code })
    }

    #[tokio::test]
    async fn it_sleeps_until_something_is_due_and_no_longer_than_an_hour() {
        // Of 1,000 s, 700 are slept; then it is due in an hour and in two; what is overdue waits a second.
        let (pauses, told, ended) = play(vec![
            round(0, 1000, 700),
            round(700, 9000, 4300),
            round(0, 100_000, 20_000),
            round(0, 10, 0),
        ])
        .await;
        assert_eq!((pauses, told), (vec![700, 3600, 3600, 1], 0));
        assert!(ended.is_ok(), "it ends when it is told to");
    }

    #[tokio::test]
    async fn what_fails_is_tried_again_after_a_fiftieth_of_the_life() {
        let (pauses, told, ended) = play(vec![
            failed(None),
            round(0, 1000, 700),
            failed(Some(MocCode::Timeout)),
            round(700, 1700, 1400),
        ])
        .await;
        assert_eq!((pauses, told), (vec![5, 695, 20, 680], 2));
        assert!(ended.is_ok());
        assert_eq!(after_failure(Some(SignedDuration::from_hours(90 * 24))), LONGEST);
    }

    #[tokio::test]
    async fn who_was_revoked_is_not_kept() {
        let (pauses, told, ended) = play(vec![round(0, 1000, 700), failed(Some(MocCode::Revoked))]).await;
        assert_eq!((pauses, told, ended.is_err()), (vec![700], 0, true));
    }
}
