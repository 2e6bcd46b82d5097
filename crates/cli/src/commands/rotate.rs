//! `kubecert rotate`, `resume` and `rotate-certs`: the verbs that change a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use kubecert_cloud::azure::{Azure, Registration};
use kubecert_core::event::{Event, Happening, RunOutcome};
use kubecert_core::intent::{Intent, Limits, Signer, Strategy, Why};
use kubecert_core::inventory::Inventory;
use kubecert_core::model::{LeafId, NodeName, RunId};
use kubecert_core::plan::Plan;
use kubecert_engine::external::{Given, Waiting};
use kubecert_engine::pending::{self, Pending};
use kubecert_engine::ports::Machines;
use kubecert_engine::run::{self, Ended, RunError, Setup};

use super::azure;
use super::cluster::Named;
use super::external;
use super::given_plan::GivenPlan;
use super::given_profile::GivenProfile;
use super::recover::{self, Brought};
use super::runtime::{self, Wired};
use super::target::{Described, Reach};
use crate::args::{GlobalArgs, HowArgs, ResumeArgs, RotateArgs, RotateCertsArgs, RunArgs};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use crate::human::paint::Paint;
use crate::render::{plan_text, report_html, report_text};

/// `kubecert rotate`.
pub(crate) fn rotate(global: &GlobalArgs, args: &RotateArgs) -> Result<Exit, CliError> {
    let named = Named::read(&args.cluster.source())?;
    named.check_supported()?;
    let state = args.state.state_dir()?.join(named.name().as_str());
    let reach = Reach::try_from(&args.ssh)?;
    let given = args.plan.as_deref().map(|file| GivenPlan::read(file, &named.name())).transpose()?;
    let intent = match &given {
        Some(given) => given.intent(),
        None => intent(&args.how),
    };
    if args.decisions.hold && !intent.why.may_hold() {
        return Err(CliError::new(Kind::Usage, format!("--hold does not go with --why {}", intent.why))
            .hint(
                "A run can be held only where the CA is replaced and the old one is in nobody else's hands.",
            ));
    }
    if args.signer.csr_out.is_some() || args.signer.certificates.is_some() {
        return external::renew(global, args, named, reach, state);
    }
    let consent = Consent { yes: args.yes, terminal: io::stdin().is_terminal() };
    let wanted = given.map_or(Wanted::Fresh, |plan| Wanted::Given(Box::new(plan)));
    #[cfg(feature = "wrong-plans")]
    let wanted = args.break_plan.map_or(wanted, Wanted::Wrong);
    runtime::with(global, |wired: Wired| async move {
        let pending = pending::pending(&state).filter(|_| matches!(wanted, Wanted::Given(_)));
        if let Some(pending) = pending {
            wired.end().await;
            return Err(CliError::new(Kind::Input, format!("{pending}")).hint(
                "That run has a plan of its own, so the one given with --plan is not begun; nothing was touched.",
            ));
        }
        let mut setup = named.connect(&reach, state, wired.wires()).await?;
        setup.decisions = args.decisions.decisions();
        carry_out(global, setup, &intent, wanted, &consent, wired).await
    })
}

/// `kubecert resume`.
pub(crate) fn resume(global: &GlobalArgs, args: &ResumeArgs) -> Result<Exit, CliError> {
    let named = Named::read(&args.run.cluster.source())?;
    let (state, only) = state_of(&named, &args.run)?;
    let reach = Reach::try_from(&args.run.ssh)?;
    let consent = Consent { yes: args.run.yes, terminal: io::stdin().is_terminal() };
    runtime::with(global, |wired: Wired| async move {
        let mut setup = named.connect(&reach, state, wired.wires()).await?;
        setup.only = only;
        setup.decisions = args.decisions.decisions();
        if let Some(node) = &args.node {
            return catch_up(global, setup, &NodeName::from(node.as_str()), &consent, wired).await;
        }
        consent.ask(setup.cluster.name.as_str(), &wired)?;
        let ended = run::resume(setup).await.map_err(run_error)?;
        let Some(ended) = ended else {
            return Err(CliError::new(Kind::Input, "this cluster has no interrupted run")
                .hint("`kubecert rotate` begins one; `kubecert check` shows how the cluster is."));
        };
        show(global, &ended, wired).await
    })
}

/// Brings an agent that was left behind up to date.
async fn catch_up(
    global: &GlobalArgs,
    setup: Setup,
    node: &NodeName,
    consent: &Consent,
    wired: Wired,
) -> Result<Exit, CliError> {
    let name = setup.cluster.name.clone();
    let mut refused = None;
    let agreed = |_: &Plan| {
        refused = consent.ask(name.as_str(), &wired).err();
        refused.is_none()
    };
    let ended = kubecert_engine::catch_up::catch_up(setup, node, agreed).await.map_err(run_error)?;
    match (ended, refused) {
        (_, Some(refused)) => Err(refused),
        (Some(ended), None) => show(global, &ended, wired).await,
        (None, None) => Err(CliError::new(Kind::Internal, "the run ended without a report")),
    }
}

/// `kubecert undo`.
pub(crate) fn undo(global: &GlobalArgs, args: &RunArgs) -> Result<Exit, CliError> {
    let named = Named::read(&args.cluster.source())?;
    let (state, only) = state_of(&named, args)?;
    let reach = Reach::try_from(&args.ssh)?;
    let consent = Consent { yes: args.yes, terminal: io::stdin().is_terminal() };
    runtime::with(global, |wired: Wired| async move {
        let mut setup = named.connect(&reach, state, wired.wires()).await?;
        setup.only = only;
        let name = setup.cluster.name.clone();
        let mut refused = None;
        let agreed = |plan: &Plan| {
            if !consent.yes {
                wired.pause(|| eprint!("{}", plan_text::render(plan, Paint::when(global.colours(true)))));
            }
            refused = consent.ask(name.as_str(), &wired).err();
            refused.is_none()
        };
        let ended = kubecert_engine::undo::undo(setup, agreed).await.map_err(run_error)?;
        match (ended, refused) {
            (_, Some(refused)) => Err(refused),
            (Some(ended), None) => show(global, &ended, wired).await,
            (None, None) => Err(CliError::new(Kind::Internal, "the undo ended without a report")),
        }
    })
}

/// Where runs are recorded, and which of them the operator means.
fn state_of(cluster: &Named, args: &RunArgs) -> Result<(PathBuf, Option<RunId>), CliError> {
    let Some(named) = &args.run_dir else {
        return Ok((args.state.state_dir()?.join(cluster.name().as_str()), None));
    };
    // A name without a directory before it, or with a link in it, has a parent that says nothing.
    let run = fs::canonicalize(named).map_err(|error| {
        let about = format!("cannot use run directory {}", named.display());
        CliError::because(Kind::Input, about, error)
            .hint("Without --run-dir the latest unfinished run of the state directory is taken.")
    })?;
    match (run.parent(), run.file_name()) {
        (Some(state), Some(id)) if run.is_dir() => {
            Ok((state.to_owned(), Some(RunId::new(id.to_string_lossy()))))
        }
        _ => Err(CliError::new(Kind::Input, format!("{} is no run directory", named.display()))
            .hint("A run directory has the run's id as its name, and journal.jsonl in it.")),
    }
}

/// `kubecert rotate-certs`. The checks come in the ancestor's order, and all of them before anything is touched.
pub(crate) fn rotate_certs(global: &GlobalArgs, args: &RotateCertsArgs) -> Result<Exit, CliError> {
    let validated = args.validate()?;
    let described = Described::read(&args.api_model)?;
    let profile = args.certificate_profile.as_deref().map(GivenProfile::read).transpose()?;
    let described = described.at_location(&validated.location)?;
    described.check_supported()?;
    let method = args.azure(&described.model.kubernetes().version)?;
    let azure = method.map(|method| azure::Prepared::read(args, method, &described.model)).transpose()?;
    let given = profile.map(|profile| profile.pki(&described)).transpose()?;
    let reach = Reach {
        host: Some(validated.ssh_host),
        port: args.ssh_port,
        user: args.ssh_user.clone(),
        key: Some(validated.key),
        known_hosts: args.known_hosts.clone(),
    };
    let state = args.state.state_dir()?.join(described.name().as_str());
    // The ancestor does not ask, and scripts around it cannot answer.
    let consent = Consent::given();
    let mut described = described;
    if args.force && !args.cloud.dry_run {
        if let Some(method) = method {
            // What Azure has to say comes before any node is touched here, too.
            let azure = azure::Prepared::read(args, method, &described.model)?;
            let described = &described;
            runtime::with(global, |wired: Wired| async move {
                enter_azure(args, described, azure, &wired).await?;
                wired.end().await;
                Ok(Exit::Done)
            })?;
        }
        // First it must answer again; then it is rotated as any other, without a further outage.
        if recover::bring_back(global, Named::AksEngine(Box::new(described)), &reach, &state, &consent)?
            == Brought::OtherRun
        {
            return Ok(Exit::Done);
        }
        described = Described::read(&args.api_model)?.at_location(&validated.location)?;
    }
    // The ancestor names every CA alike, and no CA can vouch for another of its own name.
    let same_name =
        given.as_ref().is_some_and(|given| given.has_ca_named_as(&described.pki().unwrap_or_default()));
    let strategy = same_name.then_some(Strategy::Bundled);
    let intent = Intent { strategy, ..Intent::new(Why::ReplaceCa) };
    let wanted = Wanted::Fresh;
    #[cfg(feature = "wrong-plans")]
    let wanted = args.break_plan.map_or(wanted, Wanted::Wrong);
    runtime::with(global, |wired: Wired| async move {
        let azure = match azure {
            Some(azure) => Some(enter_azure(args, &described, azure, &wired).await?),
            None => None,
        };
        let pending = pending::pending(&state);
        let mut setup = described.connect(&reach, state, wired.wires()).await?;
        setup.given = given;
        setup.decisions = args.decisions.decisions();
        if args.cloud.dry_run {
            return dry_run(global, setup, &intent, pending, wired).await;
        }
        setup.decisions.reboot = args.cloud.reboot;
        let machines = azure.filter(|_| args.cloud.reboot).map(Arc::new);
        setup.ports.machines = machines.map(|azure| azure as Arc<dyn Machines>);
        carry_out(global, setup, &intent, wanted, &consent, wired).await
    })
}

/// Has Azure let us in, and looks at the machines, before any node is touched.
async fn enter_azure(
    args: &RotateCertsArgs,
    described: &Described,
    prepared: azure::Prepared,
    wired: &Wired,
) -> Result<Azure, CliError> {
    let registration = if args.cloud.dry_run { Registration::LookOnly } else { Registration::Register };
    let mut notices = prepared.notices.clone();
    let azure = prepared.connect(registration).await?;
    notices.extend(azure::check(&azure, &described.model, args.force).await?);
    let events = wired.wires().events;
    for text in notices {
        drop(events.send(Event { at: Timestamp::now(), what: Happening::Notice { text } }));
    }
    Ok(azure)
}

/// Looks and plans as the run would, and shows that.
async fn dry_run(
    global: &GlobalArgs,
    setup: Setup,
    intent: &Intent,
    pending: Option<Pending>,
    wired: Wired,
) -> Result<Exit, CliError> {
    if let Some(pending) = pending {
        drop(setup);
        wired.end().await;
        return Err(CliError::new(Kind::Stopped, pending.to_string())
            .hint("Nothing was changed. Without --dry-run the same command goes on with that run."));
    }
    let inventory = run::look(&setup).await.map_err(run_error)?;
    let plan = run::plan(&inventory, intent, setup.ports.clock.now()).map_err(run_error)?;
    drop(setup);
    wired.end().await;
    super::look::print_plan(global, &plan)?;
    Ok(Exit::Done)
}

/// Which plan is carried out.
pub(super) enum Wanted {
    /// The planner's.
    Fresh,
    /// The one in a file, if the planner still makes the same.
    Given(Box<GivenPlan>),
    /// The planner's, with certificates that somebody else has signed.
    Signed(Box<(Waiting, BTreeMap<LeafId, Given>)>),
    /// The planner's, made wrong on purpose and not checked.
    #[cfg(feature = "wrong-plans")]
    Wrong(kubecert_core::testing::wrong::Mutation),
}

/// Looks, plans, asks, rotates, shows.
pub(super) async fn carry_out(
    global: &GlobalArgs,
    setup: Setup,
    intent: &Intent,
    wanted: Wanted,
    consent: &Consent,
    wired: Wired,
) -> Result<Exit, CliError> {
    let name = setup.cluster.name.clone();
    let events = setup.events.clone();
    let mut refused = None;
    let agreed = |plan: &Plan, _: &Inventory| {
        if let Wanted::Given(given) = &wanted
            && let Some(error) = given.differs_from(plan)
        {
            refused = Some(error);
            return false;
        }
        if consent.yes {
            // Who is not asked is told all the same, an outage of a cluster with one control plane above all.
            for notice in &plan.notices {
                let what = Happening::Notice { text: notice.clone() };
                events(Event { at: Timestamp::now(), what });
            }
        } else {
            wired.pause(|| eprint!("{}", plan_text::render(plan, Paint::when(global.colours(true)))));
        }
        match consent.ask(name.as_str(), &wired) {
            Ok(()) => true,
            Err(error) => {
                refused = Some(error);
                false
            }
        }
    };
    let ended = match &wanted {
        #[cfg(feature = "wrong-plans")]
        Wanted::Wrong(mutation) => {
            use kubecert_engine::ports::{Fault, PortError};
            let make_wrong = |plan: &Plan| {
                let wrong = mutation.apply(plan);
                wrong.map_err(|error| PortError::new(Fault::Failed, "cannot make the plan wrong", error))
            };
            run::rotate_wrong(setup, intent, make_wrong, agreed).await
        }
        Wanted::Fresh | Wanted::Given(_) => run::rotate(setup, intent, agreed).await,
        Wanted::Signed(signed) => {
            let (waiting, given) = &**signed;
            kubecert_engine::external::rotate(setup, waiting, given, agreed).await
        }
    };
    let ended = ended.map_err(run_error)?;
    if let Some(refused) = refused {
        return Err(refused);
    }
    show(global, &ended, wired).await
}

/// Writes the page beside the report, and shows the report.
pub(super) async fn show(global: &GlobalArgs, ended: &Ended, wired: Wired) -> Result<Exit, CliError> {
    wired.end().await;
    if let Some(run) = &ended.run {
        let page = report_html::render(&ended.report)
            .map_err(|error| CliError::because(Kind::Internal, "cannot render the report", error))?;
        run.write("report.html", page.as_bytes())
            .map_err(|error| CliError::because(Kind::Input, "cannot write the report", error))?;
    }
    match global.output {
        crate::args::Output::Json => {
            let json = serde_json::to_string_pretty(&ended.report).map_err(|error| {
                CliError::because(Kind::Internal, "cannot write the report as JSON", error)
            })?;
            super::print(&(json + "\n"))?;
        }
        crate::args::Output::Text if ended.report.outcome == RunOutcome::NothingToDo => {
            super::print("Nothing is due; nothing was done.\n")?;
        }
        crate::args::Output::Text => {
            let paint = Paint::when(global.colours(io::stdout().is_terminal()));
            super::print(&report_text::render(&ended.report, paint))?;
            if let Some(run) = &ended.run {
                super::print(&format!("\nReport: {}\n", run.path().join("report.html").display()))?;
            }
        }
    }
    match &ended.report.outcome {
        RunOutcome::Finished | RunOutcome::Undone | RunOutcome::NothingToDo => Ok(Exit::Done),
        RunOutcome::Stopped { reason } if ended.report.why == Why::Recover => {
            let message = format!("the run has stopped before the cluster was back: {reason}");
            Err(CliError::new(Kind::Stopped, message).hint(
                "Mend the cause, then run the same command again, or `kubecert resume`: it goes on where it stopped, with the same new certificates.",
            ))
        }
        RunOutcome::Stopped { reason } => Err(CliError::new(Kind::Stopped, format!("the run has stopped: {reason}"))
            .hint("The cluster serves. Mend the cause, then run the same command again, or `kubecert resume`: it goes on where it stopped, with the same new certificates.")),
    }
}

/// The operator's agreement to change a cluster.
pub(super) struct Consent {
    yes: bool,
    terminal: bool,
}

impl Consent {
    /// Where somebody may have to be asked.
    pub(super) const fn asked(yes: bool, terminal: bool) -> Self {
        Self { yes, terminal }
    }

    /// Whether nobody needs to be asked.
    pub(super) const fn is_given(&self) -> bool {
        self.yes
    }

    /// Where nobody needs to be asked.
    pub(super) const fn given() -> Self {
        Self { yes: true, terminal: false }
    }

    pub(super) fn ask(&self, cluster: &str, wired: &Wired) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !self.terminal {
            return Err(CliError::new(Kind::Usage, "nobody is there to agree to the plan")
                .hint("Give --yes, or run the command on a terminal."));
        }
        let mut typed = String::new();
        wired.pause(|| {
            eprint!("\nType the cluster's name, {cluster}, to go on: ");
            drop(io::stderr().flush());
            drop(io::stdin().lock().read_line(&mut typed));
        });
        if typed.trim() == cluster {
            return Ok(());
        }
        Err(CliError::new(Kind::Stopped, "the name was not typed; nothing was touched"))
    }
}

pub(super) fn intent(how: &HowArgs) -> Intent {
    let limits = Limits { renew_within_days: how.renew_within, ..Limits::default() };
    Intent { why: how.why(), strategy: how.strategy(), scope: how.scope(), limits, signer: Signer::Ours }
}

/// An error of the engine, with the kind and the hints that fit it.
pub(super) fn run_error(error: RunError) -> CliError {
    match error {
        RunError::Refused(refusal) => {
            let error = CliError::new(Kind::Cluster, "the cluster cannot be rotated as it is");
            refusal.reasons.iter().fold(error, |error, reason| error.hint(reason.to_string()))
        }
        RunError::Unfit { complaints } => {
            let error =
                CliError::new(Kind::Input, "certificates cannot be used as they are; nothing was touched");
            complaints.iter().fold(error, |error, complaint| error.hint(complaint.to_string()))
        }
        RunError::Port(error) => super::target::port_error(error),
        RunError::Unrecorded { .. } => CliError::new(Kind::Stopped, error).hint(
            "The cluster serves. Make room for the records (see the cause), then `kubecert resume` goes on.",
        ),
        error => {
            let remedy = error.remedy();
            let error = CliError::new(Kind::Input, error);
            remedy.into_iter().fold(error, CliError::hint)
        }
    }
}
