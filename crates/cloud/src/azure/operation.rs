//! Operations that go on after the answer, followed to their end.
//!
//! By documentation ("Track asynchronous Azure operations"): 202 (or 201) with `Azure-AsyncOperation`, whose body says
//! how it is in `status`; or with `Location` alone, which answers 202 for as long as it goes on. `Retry-After` says when
//! to look again.

use std::time::Duration;

use kubecert_engine::ports::Fault;
use reqwest::{Method, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::arm::{Arm, Refusal, from_refusal, read};
use super::error::AzureError;
use super::http::{Answer, LONGEST_RETRY_AFTER};

/// An operation's state.
#[derive(Deserialize)]
struct State {
    status: String,
    error: Option<Refusal>,
}

impl Arm {
    /// Begins an operation and waits until it has succeeded.
    pub(crate) async fn operate(&self, what: &str, url: &Url) -> Result<(), AzureError> {
        let answer = self.send(what, &Method::POST, url).await?;
        self.follow(what, &answer).await
    }

    async fn follow(&self, what: &str, begun: &Answer) -> Result<(), AzureError> {
        let link = |name: &str| {
            begun.header(name).map(|link| {
                Url::parse(link)
                    .map_err(|error| AzureError::new(Fault::Unexpected, what, format!("odd {name}: {error}")))
            })
        };
        let (state, by_body) = match (link("azure-asyncoperation"), link("location")) {
            (Some(link), _) => (link?, true),
            (None, Some(link)) => (link?, false),
            // Done at once.
            (None, None) => return Ok(()),
        };
        let pace = &self.http.pace;
        let ends = Instant::now() + pace.operation_patience;
        let mut pause = self.pause(begun);
        while Instant::now() + pause < ends {
            tokio::time::sleep(pause).await;
            let answer = self.send(what, &Method::GET, &state).await?;
            if by_body {
                let state: State = read(what, &answer)?;
                match state.status.as_str() {
                    "Succeeded" => return Ok(()),
                    end @ ("Failed" | "Canceled") => {
                        let own = state.error.unwrap_or(Refusal {
                            code: end.to_owned(),
                            message: format!("the operation ended as {end}"),
                        });
                        return Err(from_refusal(what, &own, None));
                    }
                    // Whatever else it is called (`InProgress`, `Running`, `Updating`), it goes on.
                    _ => {}
                }
            } else if answer.status != 202 {
                return Ok(());
            }
            pause = self.pause(&answer);
        }
        let seconds = pace.operation_patience.as_secs();
        Err(AzureError::new(Fault::Timeout, what, format!("it has not ended after {seconds} s"))
            .remedy("See the resource's activity log; run the command again when the operation has ended."))
    }

    fn pause(&self, answer: &Answer) -> Duration {
        answer.retry_after().map_or(self.http.pace.poll_pause, |asked| asked.min(LONGEST_RETRY_AFTER))
    }
}
