//! `kubecert rotate`, `resume` and `rotate-certs`: the verbs that change a cluster.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use kubecert_core::event::RunOutcome;
use kubecert_core::intent::{Intent, Limits, Strategy, Why};
use kubecert_core::inventory::Inventory;
use kubecert_core::plan::Plan;
use kubecert_engine::run::{self, Ended, RunError, Setup};

use super::runtime::{self, Wired};
use super::target::{Described, Reach, pki_set};
use crate::args::{GlobalArgs, HowArgs, ResumeArgs, RotateArgs, RotateCertsArgs};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use crate::human::paint::Paint;
use crate::render::{plan_text, report_html, report_text};

/// `kubecert rotate`.
pub(crate) fn rotate(global: &GlobalArgs, args: &RotateArgs) -> Result<Exit, CliError> {
    let described = Described::read(&args.cluster.api_model(), None)?;
    described.check_supported()?;
    let state = args.state.state_dir()?.join(described.name().as_str());
    let reach = Reach::from(&args.ssh);
    let given: Option<Plan> = args.plan.as_deref().map(read_plan).transpose()?;
    let intent = match &given {
        Some(plan) => Intent { why: plan.why, strategy: Some(plan.strategy), limits: Limits::default() },
        None => intent(&args.how),
    };
    let consent = Consent { yes: args.yes, terminal: io::stdin().is_terminal() };
    runtime::with(global, |wired: Wired| async move {
        let setup = described.connect(&reach, state, wired.wires()).await?;
        carry_out(global, setup, &intent, given, &consent, wired).await
    })
}

/// `kubecert resume`.
pub(crate) fn resume(global: &GlobalArgs, args: &ResumeArgs) -> Result<Exit, CliError> {
    let described = Described::read(&args.cluster.api_model(), None)?;
    let state = match &args.run_dir {
        Some(run) => run.parent().unwrap_or(Path::new(".")).to_owned(),
        None => args.state.state_dir()?.join(described.name().as_str()),
    };
    let reach = Reach::from(&args.ssh);
    let consent = Consent { yes: args.yes, terminal: io::stdin().is_terminal() };
    runtime::with(global, |wired: Wired| async move {
        let setup = described.connect(&reach, state, wired.wires()).await?;
        consent.ask(setup.cluster.name.as_str(), &wired)?;
        let ended = run::resume(setup).await.map_err(run_error)?;
        let Some(ended) = ended else {
            return Err(CliError::new(Kind::Input, "this cluster has no interrupted run")
                .hint("`kubecert rotate` begins one; `kubecert check` shows how the cluster is."));
        };
        show(global, &ended, wired).await
    })
}

/// `kubecert rotate-certs`.
pub(crate) fn rotate_certs(global: &GlobalArgs, args: &RotateCertsArgs) -> Result<Exit, CliError> {
    let validated = args.validate()?;
    let mut described = Described::read(&args.api_model, Some(&validated.location))?;
    described.check_supported()?;
    let given = match &args.certificate_profile {
        Some(path) => Some(given_pki(&mut described, path)?),
        None => None,
    };
    let reach = Reach {
        host: validated.ssh_host,
        port: args.ssh_port.unwrap_or(22),
        user: args.ssh_user.clone(),
        key: args.linux_ssh_private_key.clone(),
        known_hosts: args.known_hosts.clone(),
    };
    let state = args.state.state_dir()?.join(described.name().as_str());
    // The ancestor names every CA alike, and no CA can vouch for another of its own name.
    let same_name =
        given.as_ref().is_some_and(|given| given.has_ca_named_as(&described.pki().unwrap_or_default()));
    let strategy = same_name.then_some(Strategy::Bundled);
    let intent = Intent { why: Why::ReplaceCa, strategy, limits: Limits::default() };
    // The ancestor does not ask, and scripts around it cannot answer.
    let consent = Consent::given();
    runtime::with(global, |wired: Wired| async move {
        let mut setup = described.connect(&reach, state, wired.wires()).await?;
        setup.given = given;
        carry_out(global, setup, &intent, None, &consent, wired).await
    })
}

/// Looks, plans, asks, rotates, shows.
pub(super) async fn carry_out(
    global: &GlobalArgs,
    setup: Setup,
    intent: &Intent,
    given: Option<Plan>,
    consent: &Consent,
    wired: Wired,
) -> Result<Exit, CliError> {
    let name = setup.cluster.name.clone();
    let mut refused = None;
    let agreed = |plan: &Plan, _: &Inventory| {
        if given.as_ref().is_some_and(|given| !same_plan(given, plan)) {
            refused = Some(
                CliError::new(Kind::Input, "the cluster is not as it was when the plan was made")
                    .hint("Make a new plan with `kubecert plan`, look at it, and give that one."),
            );
            return false;
        }
        if !consent.yes {
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
    let ended = run::rotate(setup, intent, agreed).await.map_err(run_error)?;
    if let Some(refused) = refused {
        return Err(refused);
    }
    show(global, &ended, wired).await
}

/// Writes the page beside the report, and shows the report.
async fn show(global: &GlobalArgs, ended: &Ended, wired: Wired) -> Result<Exit, CliError> {
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
        RunOutcome::Finished | RunOutcome::NothingToDo => Ok(Exit::Done),
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
    /// Where nobody needs to be asked.
    pub(super) const fn given() -> Self {
        Self { yes: true, terminal: false }
    }

    fn ask(&self, cluster: &str, wired: &Wired) -> Result<(), CliError> {
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
    Intent { why: how.why(), strategy: how.strategy(), limits: Limits::default() }
}

/// An error of the engine, with the kind and the hints that fit it.
pub(super) fn run_error(error: RunError) -> CliError {
    match error {
        RunError::Refused(refusal) => {
            let error = CliError::new(Kind::Cluster, "the cluster cannot be rotated as it is");
            refusal.reasons.iter().fold(error, |error, reason| error.hint(reason.to_string()))
        }
        RunError::Port(error) => super::target::port_error(error),
        error => CliError::new(Kind::Input, error),
    }
}

fn read_plan(path: &Path) -> Result<Plan, CliError> {
    let about = || format!("cannot use plan {}", path.display());
    let text = std::fs::read(path).map_err(|error| CliError::because(Kind::Input, about(), error))?;
    let plan: Plan =
        serde_json::from_slice(&text).map_err(|error| CliError::because(Kind::Input, about(), error))?;
    if plan.schema != Plan::SCHEMA {
        let why = format!("it has format {}, this program knows {}", plan.schema, Plan::SCHEMA);
        return Err(CliError::because(Kind::Input, about(), why));
    }
    Ok(plan)
}

/// Whether two plans are the same but for the time stamp in the names of kubelets' certificate files.
fn same_plan(given: &Plan, fresh: &Plan) -> bool {
    let normal = |plan: &Plan| {
        let text = serde_json::to_string(plan).unwrap_or_default();
        let mut normal = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("kubelet-client-2") {
            normal.push_str(before);
            normal.push_str("kubelet-client");
            rest = after.split_once(".pem").map_or("", |(_, rest)| rest);
        }
        normal + rest
    };
    normal(given) == normal(fresh)
}

fn given_pki(described: &mut Described, path: &PathBuf) -> Result<kubecert_engine::vault::PkiSet, CliError> {
    use kubecert_cloud::apimodel::CertificateProfile;
    let about = || format!("cannot use certificate profile {}", path.display());
    let bytes = std::fs::read(path).map_err(|error| CliError::because(Kind::Input, about(), error))?;
    let profile =
        CertificateProfile::parse(&bytes).map_err(|error| CliError::because(Kind::Input, about(), error))?;
    profile
        .validate(&described.model, jiff::Timestamp::now())
        .map_err(|error| CliError::because(Kind::Input, about(), error))?;
    pki_set(&profile)
}
