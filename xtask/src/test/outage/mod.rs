//! Outages of a whole site, for real: everything is switched off until credentials have ended, and brought back.
//!
//! Of each it is seen that `assess` tells it beforehand, that `assess --measured` agrees afterwards with what really fails, that
//! the documented commands repair it in the documented order and are refused in another, and that everything works in the end.

mod outages;
mod patch;
mod proof;
mod told;

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cmd::CommandExt as _;
use crate::lab::site::{Site, age, power, wait_until_over};
use crate::rotation::Lab;
use outages::{Outage, Then};

/// How much life things have left when the power goes off. Letting them age takes most of that, and being told of it the rest.
const LEFT: Duration = Duration::from_secs(60);

/// What of that must be left for being told, and for the power to go off.
const SPARE: Duration = Duration::from_secs(20);

/// One site, and one outage after the other.
pub(crate) fn run() -> Result<()> {
    let lab = Lab::up_as("site", NAME, &[])?;
    let site = Site::load(NAME)?;
    proof::all_works(&site).context("a fresh site does not work")?;
    patch::drops_nobody(&site)?;
    for outage in outages::all(site.cluster()) {
        let began = Instant::now();
        go_through(&site, &outage).with_context(|| format!("{}: {}", outage.name, describe(&site)))?;
        eprintln!("  {}: {:.0} s", outage.name, began.elapsed().as_secs_f64());
    }
    lab.down()
}

/// What the lab is called.
const NAME: &str = "site";

fn go_through(site: &Site, outage: &Outage) -> Result<()> {
    eprintln!("-- {}", outage.name);
    told::by_the_documents(site, outage)?;
    let end = let_age(site, outage)?;
    match outage.then {
        Then::StaysOn => wait_until_over(end)?,
        Then::GoesOff => {
            told::beforehand(site, outage)?;
            let spare = end.duration_since(SystemTime::now()).unwrap_or_default();
            eprintln!("  the power goes off, {:.0} s before anything ends", spare.as_secs_f64());
            ensure!(SystemTime::now() < end, "all had ended before the power was off: LEFT is too short");
            power::off(site)?;
            if !outage.aged.is_empty() {
                wait_until_over(end)?;
            }
            power::on(site)?;
        }
    }
    proof::settle(site, outage)?;
    told::afterwards(site, outage)?;
    for (words, reason) in &outage.refused {
        refused(site, words, reason)?;
    }
    for words in &outage.repair {
        eprintln!("  {}", words.join(" "));
        site.with_site(words).show().with_context(|| format!("{} failed", words.join(" ")))?;
    }
    proof::all_works(site)?;
    told::nothing_left(site)
}

/// Lets things age, and says when they end. On a slow machine that takes its time: then they get more.
fn let_age(site: &Site, outage: &Outage) -> Result<SystemTime> {
    for left in [LEFT, LEFT * 4] {
        let end = SystemTime::now() + left;
        let aged = outage.aged.iter().try_for_each(|what| age(site, *what, end));
        // Where it took too long, what it worked with may have ended under its hands.
        if SystemTime::now() + SPARE < end {
            return aged.map(|()| end);
        }
    }
    bail!("letting things age takes longer than {} s", (LEFT * 4).as_secs())
}

/// The wrong order is refused with a reason.
fn refused(site: &Site, words: &[String], reason: &str) -> Result<()> {
    let output = site.with_site(words).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = words.join(" ");
    ensure!(!output.status.success(), "{line} was not refused");
    ensure!(said.contains(reason), "{line} was refused without saying {reason:?}: {said}");
    eprintln!("  refused, as it should be: {line}");
    Ok(())
}

/// What can be said of a site at which something has gone wrong.
fn describe(site: &Site) -> String {
    let failing = proof::failing(site).map(|failing| failing.into_iter().collect::<Vec<_>>().join(", "));
    format!("what fails now: {}", failing.unwrap_or_else(|error| format!("{error:#}")))
}
