//! The arguments of the verbs that are about a site of AKS Arc.

use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use kubecert_core::assess::Profile;

/// Arguments of `assess`.
#[derive(Debug, Args)]
pub(crate) struct AssessArgs {
    /// How long everything was off, or will be: 35d, 12h; without it, it was not off
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Outage")]
    pub(crate) off_for: Option<SignedDuration>,
    /// How long ago the last update was, at the end of the outage
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Outage")]
    pub(crate) since_update: Option<SignedDuration>,
    /// Which of the vendor's documents are believed: documented, tables-2024, legacy-2022 or azurelocal-2405
    #[arg(long, value_name = "NAME", default_value_t = Profile::Documented, help_heading = "Outage")]
    pub(crate) profile: Profile,
    /// Look at the real site, too, as the site file describes it; --site alone does the same
    #[arg(long, requires = "site", help_heading = "Site")]
    pub(crate) measured: bool,
    /// The site file: which credentials there are, and where each can be read
    #[arg(long, value_name = "FILE", help_heading = "Site")]
    pub(crate) site: Option<PathBuf>,
    /// Also write when everything ends to this file, in Prometheus' text format
    #[arg(long, value_name = "FILE", requires = "site", help_heading = "Output")]
    pub(crate) prometheus: Option<PathBuf>,
}

/// Arguments of `shutdown-check`.
#[derive(Debug, Args)]
pub(crate) struct ShutdownCheckArgs {
    /// For how long the site is to be off, from now on: 20d, 12h
    #[arg(long = "for", value_name = "TIME", value_parser = time, help_heading = "Outage")]
    pub(crate) planned: SignedDuration,
    /// The site file: which credentials there are, and where each can be read
    #[arg(long, value_name = "FILE", help_heading = "Site")]
    pub(crate) site: PathBuf,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The site file: which credentials there are, and where each can be read
    #[arg(long, value_name = "FILE", help_heading = "Site")]
    pub(crate) site: PathBuf,
}

/// A length of time as people write it; a day has 24 hours, and there are no months, which have no length.
pub(super) fn time(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?} is no length of time such as 35d, 12h or 1d12h");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if length < SignedDuration::ZERO {
        return Err("a length of time cannot be less than nothing".to_owned());
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        assert_eq!(time("35d"), Ok(SignedDuration::from_hours(35 * 24)));
        assert_eq!(time("1d12h"), Ok(SignedDuration::from_hours(36)));
        assert_eq!(time("0s"), Ok(SignedDuration::ZERO));
        for wrong in ["", "35", "a month", "2mo", "-3d", "1y"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
