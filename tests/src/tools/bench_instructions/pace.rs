//! A TCP proxy that delays the answers of a database, so that the server always waits for them. Without it,
//! some answers arrive before the server has begun to wait, which saves instructions, and how many do depends
//! on the load of the machine.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
};

/// The delay of an answer, and the pause before a request: longer than a server under callgrind needs until it
/// waits.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// Forwards connections to a port of 127.0.0.1 until the program ends. Returns the port to connect to.
pub(super) async fn paced(server: u16) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, server));
        }
    });
    Ok(port)
}

async fn forward(mut client: TcpStream, server: u16) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let back = async {
        let mut answer = Vec::new();
        while from_server.read_buf(&mut answer).await? > 0 {
            #[expect(clippy::disallowed_methods, reason = "the purpose of this proxy")]
            tokio::time::sleep(PAUSE).await;
            // What has arrived in the meantime belongs to the same answer.
            while from_server.try_read_buf(&mut answer).is_ok_and(|read| read > 0) {}
            to_client.write_all(&answer).await?;
            answer.clear();
        }
        Ok(())
    };
    tokio::select! {
        ended = copy(&mut from_client, &mut to_server) => ended.map(drop),
        ended = back => ended,
    }
}
