//! SSH servers in one process: a bastion that forwards, and a node that answers for as many nodes as there are names.
//!
//! The node takes what the client sends apart as `write.sh` does and answers with the digests, but writes nothing: what
//! is measured is the client, and thousands of shells would measure the machine.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use russh::keys::load_secret_key;
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};

use crate::figures::{argument, tell};

/// Serves until standard input ends.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.spawn(serve());
    let _ended = std::io::stdin().read_to_end(&mut Vec::new());
}

async fn serve() {
    let file: PathBuf = argument("--host-key").expect("--host-key FILE");
    let key = load_secret_key(file, None).expect("a host key");
    let config = Arc::new(server::Config { keys: vec![key], nodelay: true, ..server::Config::default() });
    let mut ports = Vec::new();
    for _ in ["bastion", "node"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        ports.push(listener.local_addr().expect("an address").port());
        tokio::spawn(accept(listener, Arc::clone(&config)));
    }
    tell("bastion_port", ports[0]);
    tell("node_port", ports[1]);
}

async fn accept(listener: TcpListener, config: Arc<server::Config>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            // A client that goes away without a farewell is none of our business.
            if let Ok(session) = server::run_stream(config, stream, Peer::default()).await {
                let _ = session.await;
            }
        });
    }
}

/// One connection.
#[derive(Default)]
struct Peer {
    /// What was sent to each channel, and how much of it is the script.
    received: HashMap<ChannelId, (usize, Vec<u8>)>,
}

impl server::Handler for Peer {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let Ok(port) = u16::try_from(port) else { return Ok(()) };
        let Ok(mut there) = TcpStream::connect((host, port)).await else { return Ok(()) };
        let _ = there.set_nodelay(true);
        reply.accept().await;
        tokio::spawn(async move {
            let mut here = channel.into_stream();
            let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
        });
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        let command = String::from_utf8_lossy(command);
        // `… kubecert-write LENGTH_OF_SCRIPT BACKUP`; anything else does nothing, like `:`.
        match command.split(" kubecert-write ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()) {
            Some(script) => drop(self.received.insert(channel, (script, Vec::new()))),
            None => end(session, channel)?,
        }
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        if let Some((_, received)) = self.received.get_mut(&channel) {
            received.extend_from_slice(data);
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        if let Some((script, received)) = self.received.remove(&channel) {
            let answer = answer(received.get(script..).unwrap_or_default()).unwrap_or_default();
            session.data(channel, answer.into_bytes())?;
            end(session, channel)?;
        }
        Ok(())
    }
}

fn end(session: &mut Session, channel: ChannelId) -> Result<(), russh::Error> {
    session.exit_status_request(channel, 0)?;
    session.eof(channel)?;
    session.close(channel)
}

/// What `write.sh` says to a list of files.
fn answer(mut rest: &[u8]) -> Option<String> {
    let mut answer = String::new();
    loop {
        let header = line(&mut rest)?;
        if header == "." {
            return Some(answer);
        }
        // `file MODE OWNER LENGTH DIGEST`, then the path, then the content.
        let length: usize = header.split(' ').nth(3)?.parse().ok()?;
        let path = line(&mut rest)?;
        let content = rest.get(..length)?;
        rest = &rest[length..];
        answer.push_str(&format!("written {} {path}\n", hex::encode(Sha256::digest(content))));
    }
}

fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&rest[..end]).ok()?;
    *rest = &rest[end + 1..];
    Some(line)
}
