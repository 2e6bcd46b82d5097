//! What a seed stands for.

use std::fmt;
use std::time::Duration;

use kubecert_core::intent::{Intent, Limits, Strategy, Why};
use kubecert_core::model::KubernetesVersion;

use crate::chance::Chance;
use crate::config::{SimConfig, Workloads};

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A call fails before it has done anything.
    CallFails,
    /// A call does its work, but the answer is lost.
    AnswerLost,
    /// kubecert is killed before a call.
    KilledBefore,
    /// kubecert is killed after a call.
    KilledAfter,
    /// A node is switched off and on.
    Reboot,
    /// An etcd member is dead from the start.
    EtcdDeadFromStart,
    /// An etcd member dies in the middle.
    EtcdDies,
    /// A node cannot be reached over SSH for a while.
    Unreachable,
    /// A node has no network for a while.
    CutOff,
    /// A node's disk is full for a while.
    DiskFull,
    /// A kubelet does not come back at first.
    KubeletStaysAway,
    /// An API server crashes again and again for a while.
    ApiServerCrashes,
    /// A node's clock is off by minutes.
    ClockOff,
    /// The load balancer is gone for a while.
    BalancerGone,
    /// The operator asks the run to stop.
    OperatorStops,
    /// A second operator begins at the same time.
    SecondOperator,
}

impl FaultKind {
    /// What it is, as a sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Self::CallFails => "a connection breaks before what was asked for is done",
            Self::AnswerLost => "a connection breaks after what was asked for was done",
            Self::KilledBefore => "kubecert is killed before it does something",
            Self::KilledAfter => "kubecert is killed after it has done something",
            Self::Reboot => "a node is switched off and on",
            Self::EtcdDeadFromStart => "an etcd member is dead from the start, and comes back after a while",
            Self::EtcdDies => "an etcd member dies, and comes back after a while",
            Self::Unreachable => "a node cannot be reached over SSH for a while",
            Self::CutOff => "a node has no network for a while",
            Self::DiskFull => "a node's disk is full for a while",
            Self::KubeletStaysAway => "a kubelet that is restarted does not come back for a while",
            Self::ApiServerCrashes => "an API server crashes again and again for a while",
            Self::ClockOff => "a node's clock is off by minutes for a while",
            Self::BalancerGone => "the load balancer is gone for a while",
            Self::OperatorStops => "the operator presses Ctrl-C",
            Self::SecondOperator => "a second operator begins at the same time",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::CallFails,
        Self::AnswerLost,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::Reboot,
        Self::EtcdDeadFromStart,
        Self::EtcdDies,
        Self::Unreachable,
        Self::CutOff,
        Self::DiskFull,
        Self::KubeletStaysAway,
        Self::ApiServerCrashes,
        Self::ClockOff,
        Self::BalancerGone,
        Self::OperatorStops,
        Self::SecondOperator,
    ];

    /// Its name, as it is written on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CallFails => "call-fails",
            Self::AnswerLost => "answer-lost",
            Self::KilledBefore => "killed-before",
            Self::KilledAfter => "killed-after",
            Self::Reboot => "reboot",
            Self::EtcdDeadFromStart => "etcd-dead-from-start",
            Self::EtcdDies => "etcd-dies",
            Self::Unreachable => "unreachable",
            Self::CutOff => "cut-off",
            Self::DiskFull => "disk-full",
            Self::KubeletStaysAway => "kubelet-stays-away",
            Self::ApiServerCrashes => "api-server-crashes",
            Self::ClockOff => "clock-off",
            Self::BalancerGone => "balancer-gone",
            Self::OperatorStops => "operator-stops",
            Self::SecondOperator => "second-operator",
        }
    }

    /// Whether the cluster itself is unharmed by it, so that nobody's calls may fail.
    pub const fn spares_the_cluster(self) -> bool {
        matches!(
            self,
            Self::CallFails
                | Self::AnswerLost
                | Self::KilledBefore
                | Self::KilledAfter
                | Self::Unreachable
                | Self::DiskFull
                | Self::ClockOff
                | Self::OperatorStops
                | Self::SecondOperator
        )
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fault of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which kind.
    pub kind: FaultKind,
    /// When, as a share of an undisturbed run in thousandths.
    pub at: u16,
    /// On which node, counted over control planes or over all nodes, whichever the kind is about; taken modulo their
    /// number.
    pub node: usize,
    /// For how long, where the kind lasts.
    pub lasts: Duration,
    /// By how much, for a clock.
    pub clock_ms: i64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {:.1} % (node {}, {} s)",
            self.kind,
            f32::from(self.at) / 10.0,
            self.node,
            self.lasts.as_secs()
        )
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed that it follows from.
    pub seed: u64,
    /// The cluster.
    pub config: SimConfig,
    /// What the operator wants.
    pub intent: Intent,
    /// Whether the description lacks the CA's private key.
    pub without_ca_key: bool,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Whether the operator gives up after the first interruption, and goes back.
    pub gives_up: bool,
    /// How long until the operator tries again after an interruption, in turn.
    pub pauses: Vec<Duration>,
}

/// How many control planes, with weights.
const PLANES: &[(usize, u64)] = &[(1, 15), (2, 5), (3, 50), (4, 4), (5, 18), (6, 2), (7, 6)];
/// How many agents, from and to, with weights: most clusters are small, some have hundreds of nodes, a few a thousand.
const AGENTS: &[((u64, u64), u64)] = &[
    ((0, 0), 1500),
    ((1, 5), 5500),
    ((6, 30), 2500),
    ((31, 200), 450),
    ((201, 999), 40),
    ((1000, 1000), 10),
];
/// How many faults, with weights.
const FAULTS: &[(usize, u64)] = &[(0, 5), (1, 30), (2, 25), (3, 18), (4, 12), (5, 6), (6, 4)];
/// How often which fault, as weights.
const KINDS: &[(FaultKind, u64)] = &[
    (FaultKind::CallFails, 10),
    (FaultKind::AnswerLost, 10),
    (FaultKind::KilledBefore, 14),
    (FaultKind::KilledAfter, 14),
    (FaultKind::Reboot, 8),
    (FaultKind::EtcdDeadFromStart, 3),
    (FaultKind::EtcdDies, 6),
    (FaultKind::Unreachable, 6),
    (FaultKind::CutOff, 5),
    (FaultKind::DiskFull, 5),
    (FaultKind::KubeletStaysAway, 5),
    (FaultKind::ApiServerCrashes, 5),
    (FaultKind::ClockOff, 5),
    (FaultKind::BalancerGone, 4),
    (FaultKind::OperatorStops, 3),
    (FaultKind::SecondOperator, 2),
];
/// Kubernetes' minor versions.
const MINORS: (u16, u16) = (20, 36);

impl Scenario {
    /// The run of that seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x05ee_d0fa_ca11);
        let planes = chance.weighted(PLANES);
        let (from, to) = chance.weighted(AGENTS);
        let agents = from + chance.next() % (to - from + 1);
        let mut config = SimConfig::new(planes, usize::try_from(agents).unwrap_or_default());
        let minors = u64::from(MINORS.1 - MINORS.0) + 1;
        let minor = MINORS.0 + u16::try_from(chance.next() % minors).unwrap_or_default();
        config.version = KubernetesVersion { major: 1, minor };
        config.seed = seed;
        if chance.percent(30) {
            config.workloads = Workloads::Minimal;
        }
        let bundled = chance.percent(30);
        let without_ca_key = bundled && chance.percent(50);
        let strategy = (bundled && !without_ca_key).then_some(Strategy::Bundled);
        let least = config.agents.div_ceil(50);
        let limits = Limits { agents_at_once: least + 1 + chance.below(25), ..Limits::default() };
        let count = chance.weighted(FAULTS);
        let mut faults: Vec<Fault> = (0..count).map(|_| Fault::by(&mut chance)).collect();
        let gives_up = chance.percent(35);
        if gives_up {
            // Something must make the operator think again, and early enough.
            let kind = chance.weighted(&[(FaultKind::KilledAfter, 2), (FaultKind::OperatorStops, 1)]);
            let at = u16::try_from(50 + chance.below(750)).unwrap_or_default();
            faults.push(Fault { kind, at, ..Fault::by(&mut chance) });
        }
        let pauses = (0..16).map(|_| Fault::pause(&mut chance)).collect();
        // Drawn last, so that everything else of a seed is what it was before there were any.
        if chance.percent(30) {
            config.windows_agents = 1 + chance.below(2);
        }
        Self {
            seed,
            config,
            intent: Intent { strategy, limits, ..Intent::new(Why::ReplaceCa) },
            without_ca_key,
            faults,
            gives_up,
            pauses,
        }
    }

    /// A rehearsal of one's own cluster. The seed decides what is left open: on which node a fault strikes, how long the
    /// operator waits before each resume.
    pub fn rehearsal(config: SimConfig, intent: Intent, without_ca_key: bool, faults: Vec<Fault>) -> Self {
        let mut chance = Chance::new(config.seed);
        let pauses = (0..16).map(|_| Fault::pause(&mut chance)).collect();
        Self { seed: config.seed, config, intent, without_ca_key, faults, gives_up: false, pauses }
    }

    /// About how many calls of ports an undisturbed run makes.
    pub(crate) fn calls(&self) -> u64 {
        let count = 150 + 320 * self.config.control_planes + 50 * self.config.agents;
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// About how long an undisturbed run takes.
    pub(crate) fn duration(&self) -> Duration {
        let planes = u64::try_from(self.config.control_planes).unwrap_or_default();
        let agents = u64::try_from(self.config.agents).unwrap_or_default();
        let polls = if self.config.version.at_least(23) { 0 } else { 120 };
        Duration::from_secs(20 + 25 * planes + agents / 2 + polls)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SimConfig { control_planes, agents, windows_agents, version, workloads, .. } = &self.config;
        let strategy = match (self.intent.strategy, self.without_ca_key) {
            (Some(strategy), _) => strategy,
            (None, true) => Strategy::Bundled,
            (None, false) => Strategy::CrossSigned,
        };
        write!(
            f,
            "seed {}: {control_planes} control planes, {agents} agents and {windows_agents} with Windows, {version}, {strategy}, workloads {}, {} agents at once",
            self.seed,
            if *workloads == Workloads::All { "all" } else { "minimal" },
            self.intent.limits.agents_at_once,
        )?;
        if self.gives_up {
            f.write_str(", gives up")?;
        }
        for fault in &self.faults {
            write!(f, "; {fault}")?;
        }
        Ok(())
    }
}

impl Fault {
    /// How long a fault lasts that somebody has chosen.
    const LASTS: Duration = Duration::from_secs(60);
    /// By how much a clock is off that somebody has chosen, in milliseconds: three minutes.
    const CLOCK_MS: i64 = 180_000;

    /// A fault of that kind, `at` thousandths of an undisturbed run; the seed decides where.
    pub fn chosen(kind: FaultKind, at: u16, seed: u64) -> Self {
        let node = Chance::new(seed ^ u64::from(at)).below(1_000_000);
        Self { kind, at, node, lasts: Self::LASTS, clock_ms: Self::CLOCK_MS }
    }

    /// Faults by chance, as a campaign has them; at least one.
    pub fn random(seed: u64) -> Vec<Self> {
        let mut chance = Chance::new(seed);
        let count = chance.weighted(FAULTS).max(1);
        (0..count).map(|_| Self::by(&mut chance)).collect()
    }

    fn by(chance: &mut Chance) -> Self {
        let kind = chance.weighted(KINDS);
        // Most faults pass in seconds, some take minutes, a few outlast every patience.
        let (from, to) = chance.weighted(&[((1, 20), 45), ((20, 90), 35), ((90, 400), 15), ((400, 1800), 5)]);
        let lasts = match kind {
            FaultKind::EtcdDeadFromStart => Duration::from_secs(60 + chance.next() % 600),
            _ => Duration::from_millis(chance.next() % 1000 + 1000 * (from + chance.next() % (to - from))),
        };
        let minutes = i64::try_from(1 + chance.next() % 5).unwrap_or(1);
        let clock_ms = if chance.percent(50) { 60_000 * minutes } else { -60_000 * minutes };
        let at = if kind == FaultKind::EtcdDeadFromStart { 0 } else { chance.below(1000) };
        Self {
            kind,
            at: u16::try_from(at).unwrap_or_default(),
            node: chance.below(1_000_000),
            lasts,
            clock_ms,
        }
    }

    /// How long until the operator tries again: at once, when processes have come up, after a coffee.
    fn pause(chance: &mut Chance) -> Duration {
        let (from, to) = chance.weighted(&[((0, 1), 30), ((1, 20), 35), ((20, 120), 25), ((120, 900), 10)]);
        Duration::from_millis(1000 * from + chance.next() % (1000 * (to - from)))
    }
}
