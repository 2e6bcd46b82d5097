//! The arguments of `authority`: the infrastructure layer of AKS Arc, from either side.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use kubecert_cloud::authority::{ClientType, DEFAULT_LOGIN_PORT, DEFAULT_PORT, OldTokens};

use super::examples;
use super::site::time;

/// Arguments of `authority`.
#[derive(Debug, Args)]
pub(crate) struct AuthorityArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: AuthorityVerb,
}

/// What can be done with an authority, in the order in which a person meets it.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityVerb {
    /// Make an authority: a CA, a key for tokens, and an administrator with a login file
    #[command(after_help = examples::AUTHORITY_INIT)]
    Init(InitArgs),
    /// Serve an authority until it is interrupted: logins at one port, everything else at another
    #[command(after_help = examples::AUTHORITY_SERVE)]
    Serve(ServeArgs),
    /// Spend a login file's token on a client certificate, and write an access file
    #[command(after_help = examples::AUTHORITY_LOGIN)]
    Login(LoginArgs),
    /// Renew an access file's certificate once 30 % of its life is left, and learn new CAs
    #[command(after_help = examples::AUTHORITY_RENEW)]
    Renew(RenewArgs),
    /// Create, rotate, revoke or list the identities that may log in, and give them roles
    #[command(after_help = examples::AUTHORITY_IDENTITY)]
    Identity(IdentityArgs),
    /// List the roles that identities can be given, and what each of them allows here
    #[command(after_help = examples::AUTHORITY_ROLE)]
    Role(RoleArgs),
    /// Put a new CA in the old one's place, which is accepted for a while longer; or end that while
    #[command(after_help = examples::AUTHORITY_ROTATE)]
    Rotate(RotateCaArgs),
    /// Show how an authority is, which CAs it accepts, and until when
    #[command(after_help = examples::AUTHORITY_STATUS)]
    Status(StatusArgs),
}

/// Arguments of `authority init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The directory to make; it will hold private keys
    #[arg(long, value_name = "DIR", help_heading = "Authority")]
    pub(crate) dir: PathBuf,
    /// Name or address under which clients reach it; the first one stands in login files
    #[arg(long = "host", value_name = "NAME", required = true, help_heading = "Authority")]
    pub(crate) hosts: Vec<String>,
    /// Its name, which its CA carries
    #[arg(long, value_name = "NAME", default_value = "kubecert-authority", help_heading = "Authority")]
    pub(crate) name: String,
    /// The location that login files name
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Authority"
    )]
    pub(crate) location: String,
    /// Where to write the administrator's login file; without it, admin-login.yaml in the directory
    #[arg(long, value_name = "FILE", help_heading = "Authority")]
    pub(crate) login_file: Option<PathBuf>,
    /// Ports that login files name.
    #[command(flatten)]
    pub(crate) ports: PortArgs,
    /// How long the CA is good
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "365d", help_heading = "Lifetimes")]
    pub(crate) ca_lasts: SignedDuration,
    /// How long certificates are good
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "90d", help_heading = "Lifetimes")]
    pub(crate) certificates_last: SignedDuration,
    /// How long tokens are good, unless an identity says otherwise
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "90d", help_heading = "Lifetimes")]
    pub(crate) tokens_last: SignedDuration,
    /// What becomes of a token when its identity gets a new one: refused or until-they-end
    #[arg(long, value_name = "WHAT", default_value_t = OldTokens::Refused, help_heading = "Lifetimes")]
    pub(crate) old_tokens: OldTokens,
}

/// The two ports of an authority.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ports")]
pub(crate) struct PortArgs {
    /// The port for everything but logins
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT)]
    pub(crate) port: u16,
    /// The port for logins
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_LOGIN_PORT)]
    pub(crate) login_port: u16,
}

/// Arguments of `authority serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The directory that `authority init` has made
    #[arg(long, value_name = "DIR", help_heading = "Authority")]
    pub(crate) dir: PathBuf,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED), help_heading = "Ports")]
    pub(crate) listen: IpAddr,
    /// Ports; 0 for any that is free, which is said.
    #[command(flatten)]
    pub(crate) ports: PortArgs,
}

/// Arguments of `authority login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The login file
    #[arg(long, value_name = "FILE", help_heading = "Client")]
    pub(crate) login_file: PathBuf,
    /// The access file to write
    #[arg(long, value_name = "FILE", help_heading = "Client")]
    pub(crate) access_file: PathBuf,
    /// Name or address of the authority; without it, the login file's
    #[arg(long, value_name = "NAME", help_heading = "Client")]
    pub(crate) server: Option<String>,
    /// The authority's port for logins; without it, the login file's
    #[arg(long, value_name = "PORT", help_heading = "Client")]
    pub(crate) login_port: Option<u16>,
}

/// Arguments of `authority renew`.
#[derive(Debug, Args)]
pub(crate) struct RenewArgs {
    /// Which client, and where its authority is.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Renew also while more than 30 % of the certificate's life is left
    #[arg(long, help_heading = "Client")]
    pub(crate) force: bool,
    /// Go on for ever: renew before the certificate ends, and try again what fails; SIGTERM or Ctrl-C ends it
    #[arg(long, conflicts_with = "force", help_heading = "Client")]
    pub(crate) watch: bool,
}

/// With what a client speaks to an authority, and where that is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Client")]
pub(crate) struct ClientArgs {
    /// The access file that `authority login` has written
    #[arg(long, value_name = "FILE")]
    pub(crate) access_file: PathBuf,
    /// The login file: it says where the authority is; `renew` logs in with it where the certificate has ended
    #[arg(long, value_name = "FILE", required_unless_present = "server")]
    pub(crate) login_file: Option<PathBuf>,
    /// Name or address of the authority; without it, the login file's
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// The authority's port; without it, the login file's, or 55000
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
}

/// Either an authority's directory, or a client's way to it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Authority")]
pub(crate) struct SideArgs {
    /// The authority's directory, for its owner: no credential is needed, and it need not be served
    #[arg(long, value_name = "DIR", conflicts_with_all = ["access_file", "login_file", "server", "port"], required_unless_present = "access_file")]
    pub(crate) dir: Option<PathBuf>,
    /// The access file of an identity that may do this
    #[arg(long, value_name = "FILE")]
    pub(crate) access_file: Option<PathBuf>,
    /// A login file that says where the authority is
    #[arg(long, value_name = "FILE")]
    pub(crate) login_file: Option<PathBuf>,
    /// Name or address of the authority; without it, the login file's
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// The authority's port; without it, the login file's, or 55000
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
}

/// Arguments of `authority identity`.
#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: IdentityVerb,
}

/// What can be done with identities.
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityVerb {
    /// Create an identity, and write its login file
    Create(CreateIdentityArgs),
    /// Give an identity a new token, and write a new login file
    Rotate(OneIdentityArgs),
    /// Revoke an identity: its tokens and certificates count no more, at once and for ever
    Revoke(RevokeIdentityArgs),
    /// Give an identity a role; `authority role list` has them all
    Assign(AssignArgs),
    /// List all identities
    List(SideArgs),
}

/// Arguments of `authority identity create`.
#[derive(Debug, Args)]
pub(crate) struct CreateIdentityArgs {
    /// Its name, and where its login file goes.
    #[command(flatten)]
    pub(crate) one: OneIdentityArgs,
    /// What it is for: Admin, BareMetal, ControlPlane, ExternalClient, LoadBalancer or Node
    #[arg(long = "type", value_name = "TYPE", default_value_t = ClientType::ExternalClient, help_heading = "Identity")]
    pub(crate) client_type: ClientType,
    /// How long each of its tokens is good; without it, the authority's way
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Identity")]
    pub(crate) tokens_last: Option<SignedDuration>,
    /// The location that its login file names
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Identity"
    )]
    pub(crate) location: String,
}

/// Arguments of `authority identity rotate`.
#[derive(Debug, Args)]
pub(crate) struct OneIdentityArgs {
    /// The identity's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Where to write its login file
    #[arg(long, value_name = "FILE", help_heading = "Identity")]
    pub(crate) out: PathBuf,
    /// From which side.
    #[command(flatten)]
    pub(crate) side: SideArgs,
}

/// Arguments of `authority identity revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeIdentityArgs {
    /// The identity's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// From which side.
    #[command(flatten)]
    pub(crate) side: SideArgs,
}

/// Arguments of `authority identity assign`.
#[derive(Debug, Args)]
pub(crate) struct AssignArgs {
    /// The identity's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The role's name, as the wire API has it
    #[arg(long, value_name = "ROLE", help_heading = "Identity")]
    pub(crate) role: String,
    /// From which side.
    #[command(flatten)]
    pub(crate) side: SideArgs,
}

/// Arguments of `authority role`.
#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: RoleVerb,
}

/// What can be done with roles.
#[derive(Debug, Subcommand)]
pub(crate) enum RoleVerb {
    /// List roles, and what each of them allows
    List(ListRolesArgs),
}

/// Arguments of `authority role list`.
#[derive(Debug, Args)]
pub(crate) struct ListRolesArgs {
    /// The roles' names; without one, all of them
    #[arg(value_name = "ROLE")]
    pub(crate) names: Vec<String>,
    /// From which side.
    #[command(flatten)]
    pub(crate) side: SideArgs,
}

/// Arguments of `authority rotate`.
#[derive(Debug, Args)]
pub(crate) struct RotateCaArgs {
    /// The directory that `authority init` has made
    #[arg(long, value_name = "DIR", help_heading = "Authority")]
    pub(crate) dir: PathBuf,
    /// For how long the old CA is accepted beside the new one
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "30d", help_heading = "Authority")]
    pub(crate) overlap: SignedDuration,
    /// End the overlap now: who knows only the old CA is cut off
    #[arg(long, conflicts_with = "overlap", help_heading = "Authority")]
    pub(crate) finish: bool,
}

/// Arguments of `authority status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// From which side.
    #[command(flatten)]
    pub(crate) side: SideArgs,
}
