//! The HTTP server of a sink. It can stop listening for a while, as if the program were not running, and
//! listens on the same port again.

use axum::Router;
use http_server::Listening;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The number of connections that the kernel queues before they are accepted.
const BACKLOG: u32 = 1024;
/// The pause before the next try to listen.
const LISTEN_RETRY: Duration = Duration::from_secs(1);

/// The wanted state of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Serve,
    /// Connections are refused.
    BeAway,
    End,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

/// Makes a server stop listening and listen again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Presence(watch::Sender<State>);

impl Presence {
    /// Closes all connections and refuses new ones, or listens again.
    pub fn set_away(&self, away: bool) {
        self.0.send_if_modified(|state| {
            let wanted = if away { State::BeAway } else { State::Serve };
            let is_change = *state != State::End && *state != wanted;
            if is_change {
                *state = wanted;
            }
            is_change
        });
    }
}

impl Server {
    /// Serves `router` on a port of loopback that the system chooses. While the server does not listen, no
    /// other process gets the port and no outgoing connection uses it.
    pub fn start(router: Router) -> std::io::Result<Server> {
        // This socket reserves the port and never listens.
        let reservation = socket(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = reservation.local_addr()?;
        let listener = listen(address)?;
        let state = watch::Sender::new(State::Serve);
        let task = tokio::spawn(serve(router, reservation, listener, state.subscribe()));
        Ok(Server { address, state, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handle to make the server stop listening and listen again.
    pub fn presence(&self) -> Presence {
        Presence(self.state.clone())
    }

    /// Gives requests that are being handled some seconds to finish, and ends.
    pub async fn stop(self) {
        self.state.send_replace(State::End);
        let _ = self.task.await;
    }
}

/// A socket at an address that several sockets may share.
fn socket(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    socket(address)?.listen(BACKLOG)
}

async fn serve(
    router: Router,
    reservation: TcpSocket,
    first: TcpListener,
    mut state: watch::Receiver<State>,
) {
    let mut listener = Some(first);
    while *state.borrow_and_update() != State::End {
        if *state.borrow() == State::BeAway {
            // The sender is dropped only with the server.
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        let listening = match listener.take() {
            Some(listener) => Ok(listener),
            None => reservation.local_addr().and_then(listen),
        };
        match listening.and_then(Listening::from_listener) {
            Ok(listening) => {
                let server = listening.serve(router.clone());
                let next = state.wait_for(|state| *state != State::Serve).await.map(|state| *state);
                match next {
                    Ok(State::BeAway) => server.stop_within(Duration::ZERO).await,
                    _ => return server.stop().await,
                }
            }
            Err(error) => {
                tracing::error!(%error, "the sink can't listen again yet");
                let _ = tokio::time::timeout(LISTEN_RETRY, state.changed()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn ask(address: SocketAddr) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_server_that_is_away_refuses_and_comes_back_on_the_same_port() {
        let server = Server::start(Router::new().route("/", get(|| async { "ok" }))).unwrap();
        let address = server.address();
        assert!(ask(address).await.unwrap().starts_with("HTTP/1.1 200"));
        let mut open = TcpStream::connect(address).await.unwrap();
        server.presence().set_away(true);
        // The server's task closes the listener; wait for that.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let error = ask(address).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        // An open connection is closed normally or by a reset.
        let mut rest = Vec::new();
        let _ = open.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
        server.presence().set_away(false);
        while ask(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        server.stop().await;
    }
}
