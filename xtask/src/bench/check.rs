//! Many certificates read, chained and reported, beside openssl.
//!
//! An exporter of certificates beside it would be telling, too; none could be had from Go's module proxy, so there is none.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Size;
use super::measured::{Figures, Took, milliseconds, program, row, table, time};
use crate::cmd::cmd;

/// Certificates, and with `--quick`.
const CERTIFICATES: usize = 50_000;
const QUICK: usize = 1_000;
/// The best of so many runs counts.
const RUNS: usize = 3;

/// Checks, and prints the figures.
pub(super) fn run(size: &Size) -> Result<()> {
    let program = program("kubecert", "check")?;
    let count = if size.quick { QUICK } else { CERTIFICATES };
    let directory = tempfile::tempdir()?;
    let at = |command: &str| {
        let mut measured = cmd(&program.to_string_lossy(), [command, "--directory"]);
        measured.arg(directory.path());
        measured
    };
    eprintln!("making {count} certificates");
    Figures::of(at("make").args(["--certificates", &count.to_string()]))?;
    let mut best: Option<(f64, Figures)> = None;
    for _ in 0..RUNS {
        let figures = Figures::of(&mut at("run"))?;
        let all = figures.number("all_ms")?;
        if best.as_ref().is_none_or(|(least, _)| all < *least) {
            best = Some((all, figures));
        }
    }
    let (all, figures) = best.context("nothing was measured")?;
    let mut rows = vec![row(["what", "wall ms", "processor ms", "as many times"])];
    rows.push(row([
        "kubecert: read, verify signatures, table and JSON".to_owned(),
        format!("{all:.0}"),
        format!("{:.0}", figures.number("cpu_ms")?),
        "1".to_owned(),
    ]));
    let mut beside = |what: &str, took: &Took| {
        let wall = milliseconds(took.wall);
        let cells = [
            what.to_owned(),
            format!("{wall:.0}"),
            format!("{:.0}", milliseconds(took.processor)),
            format!("{:.1}", wall / all),
        ];
        rows.push(row(cells));
    };
    beside("openssl crl2pkcs7 | pkcs7 -print_certs: read and print names", &print_certs(directory.path())?);
    beside("openssl verify: read and verify signatures", &verify(directory.path())?);
    table(&rows);
    println!(
        "of kubecert's time: read {} ms, chained {} ms, reported {} ms",
        figures.text("read_ms")?,
        figures.text("chained_ms")?,
        figures.text("reported_ms")?
    );
    println!("certificates={count} all_ms={all:.0} peak_mib={}", figures.text("peak_mib")?);
    Ok(())
}

fn print_certs(directory: &Path) -> Result<Took> {
    let pipe = "openssl crl2pkcs7 -nocrl -certfile leaves.pem | openssl pkcs7 -print_certs -noout";
    time(cmd("sh", ["-c", pipe]).current_dir(directory))
}

/// `openssl verify` takes one certificate a file.
fn verify(directory: &Path) -> Result<Took> {
    let single = directory.join("single");
    fs::create_dir(&single)?;
    let text = fs::read_to_string(directory.join("leaves.pem"))?;
    const END: &str = "-----END CERTIFICATE-----\n";
    for (index, certificate) in text.split_inclusive(END).enumerate() {
        fs::write(single.join(index.to_string()), certificate)?;
    }
    let command = "find single -type f | xargs openssl verify -CAfile ca.pem";
    time(cmd("sh", ["-c", command]).current_dir(directory))
}
