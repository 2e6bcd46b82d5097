//! The SSH server of the endpoint.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::net::{TcpListener, TcpStream};

use super::machine::{Machine, locked};
use super::play::{Answer, play};
use crate::exec::{assemble_windows, windows_command};
use crate::ops::windows::SCRIPTS;

/// Who may log in.
#[derive(Clone, Debug)]
pub struct Logins {
    /// The only user.
    pub user: String,
    /// Its password, if passwords are taken.
    pub password: Option<String>,
    /// Its public keys in OpenSSH's format, one a line.
    pub keys: String,
}

/// An SSH server that plays a machine; without one it only forwards, as a bastion does.
pub struct Endpoint {
    address: SocketAddr,
    host_key: String,
    task: tokio::task::JoinHandle<()>,
}

impl Endpoint {
    /// Listens at `address` with a host key made for it, until it is dropped.
    ///
    /// # Errors
    ///
    /// When nobody can listen there, or no key can be made.
    pub async fn listen(
        address: SocketAddr,
        logins: Logins,
        machine: Option<Arc<Machine>>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| "there is no randomness")?;
        let host_key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        let public = host_key.public_key().to_openssh()?;
        let config = Arc::new(server::Config {
            server_id: russh::SshId::Standard("SSH-2.0-OpenSSH_for_Windows_8.1".into()),
            auth_rejection_time: std::time::Duration::ZERO,
            keys: vec![host_key],
            ..server::Config::default()
        });
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = Connection {
                    logins: logins.clone(),
                    machine: machine.clone(),
                    running: Mutex::default(),
                };
                let config = Arc::clone(&config);
                tokio::spawn(async move {
                    if let Ok(session) = server::run_stream(config, stream, connection).await {
                        let _ = session.await;
                    }
                });
            }
        });
        Ok(Self { address, host_key: public, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its host key in OpenSSH's format.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Connection {
    logins: Logins,
    machine: Option<Arc<Machine>>,
    /// Standard input of the operations under way.
    running: Mutex<HashMap<ChannelId, Running>>,
}

struct Running {
    act: &'static str,
    input: Vec<u8>,
}

impl Connection {
    fn knows(&self, key: &PublicKey) -> bool {
        let known = self.logins.keys.lines().filter_map(|line| PublicKey::from_openssh(line).ok());
        known.into_iter().any(|known| known.key_data() == key.key_data())
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let welcome = user == self.logins.user && self.logins.password.as_deref() == Some(password);
        Ok(if welcome { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let welcome = user == self.logins.user && self.knows(key.public_key);
        Ok(if welcome { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let port = u16::try_from(port).unwrap_or_default();
        match TcpStream::connect((host, port)).await {
            Ok(mut there) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let mut here = channel.into_stream();
                    let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                });
            }
            Err(_) => reply.reject(russh::ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        let known = SCRIPTS.iter().find(|(act, _)| windows_command(act).as_bytes() == data);
        match known {
            Some((act, _)) if self.machine.is_some() => {
                locked(&self.running).insert(channel, Running { act, input: Vec::new() });
            }
            _ => {
                let stderr = b"'it' is not recognized as an internal or external command\r\n".to_vec();
                end(session.handle(), channel, Answer { status: 1, stderr, ..Answer::default() });
            }
        }
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(running) = locked(&self.running).get_mut(&channel) {
            running.input.extend_from_slice(data);
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        let running = locked(&self.running).remove(&channel);
        if let (Some(running), Some(machine)) = (running, self.machine.clone()) {
            let handle = session.handle();
            tokio::spawn(async move {
                let answer = run(&machine, &running).await;
                end(handle, channel, answer);
            });
        }
        Ok(())
    }
}

/// Takes standard input apart as the beginning of the command line does, and plays the operation if the script is the known
/// one to the letter.
async fn run(machine: &Machine, running: &Running) -> Answer {
    let wrong =
        |why: &str| Answer { status: 1, stderr: format!("{why}\n").into_bytes(), ..Answer::default() };
    let Ok(text) = std::str::from_utf8(&running.input) else { return wrong("the input is not ASCII") };
    if !text.is_ascii() {
        return wrong("the input is not ASCII");
    }
    let lines: Vec<&str> = text.lines().collect();
    let count = lines.first().and_then(|line| line.parse::<usize>().ok()).unwrap_or_default();
    let Some((script, rest)) = lines.get(1..).and_then(|lines| lines.split_at_checked(count)) else {
        return wrong("the script was cut off");
    };
    let parts = SCRIPTS.iter().find(|(act, _)| *act == running.act).map_or(&[][..], |(_, parts)| *parts);
    if !assemble_windows(parts).lines().eq(script.iter().copied()) {
        return wrong("this is not the script of that operation");
    }
    play(machine, running.act, rest).await
}

/// Sends what came of an operation, and ends its channel.
fn end(handle: server::Handle, channel: ChannelId, answer: Answer) {
    tokio::spawn(async move {
        let _ = handle.data(channel, answer.stdout).await;
        let _ = handle.extended_data(channel, 1, answer.stderr).await;
        let _ = handle.exit_status_request(channel, answer.status).await;
        let _ = handle.eof(channel).await;
        let _ = handle.close(channel).await;
    });
}
