#![expect(dead_code, reason = "each measured program takes what it needs of this")]
//! What measured programs share: arguments, and figures as lines `name=value` that `cargo xtask bench` reads.

use std::fmt::Display;
use std::time::Duration;

/// The value after a flag on the command line.
pub(crate) fn argument<T: std::str::FromStr>(flag: &str) -> Option<T> {
    let mut words = std::env::args().skip_while(|word| word != flag);
    words.nth(1)?.parse().ok()
}

/// Says one figure.
pub(crate) fn tell(name: &str, value: impl Display) {
    println!("{name}={value}");
}

/// Milliseconds with their thousandths.
pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1000.0)
}

/// How long this thread has run on a processor so far (the first field of `schedstat` in the kernel's documentation): the
/// same on a machine that is busy with other things.
pub(crate) fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells about threads");
    let nanoseconds = text.split_whitespace().next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// The same for all threads of this process that live.
pub(crate) fn threads_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux tells about threads");
    let times = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}

/// How long all threads of this process have run on processors so far (`utime` and `stime` of proc(5), in ticks of which
/// Linux counts a hundred a second towards programs).
pub(crate) fn process_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux tells about processes");
    // The name may hold anything, and ends with the last parenthesis; state is the field behind it.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// The most memory that this process has held so far, in MiB (`VmHWM` of proc(5)).
pub(crate) fn peak_mib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells about processes");
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells the peak");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    format!("{:.1}", kib / 1024.0)
}
