use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _, stream};
use http::StatusCode;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use super::*;

/// Longer than any step of these tests takes.
const SOON: Duration = Duration::from_secs(10);

const MEBIBYTE: usize = 1 << 20;

const LIMITS: Limits = Limits {
    connections: ConnectionLimits { open: 1_000, lingering: 256, for_probes: 0 },
    head_time: SOON,
    head_bytes: 64 * 1024,
    write_stall: SOON,
    connection_time: None,
    keep_alive: true,
    linger: LingerLimits { time: SOON, pause: SOON, bytes: 64 * MEBIBYTE },
};

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(serve(listener, respond, limits, stop.clone(), Duration::ZERO));
        Self { address, stop, ended }
    }

    /// Connects from 127.0.0.`host`.
    async fn connect(&self, host: u8) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        let connecting = timeout(SOON, socket.connect(self.address)).await;
        Client(connecting.expect("the kernel answers").unwrap())
    }

    /// Opens a connection that has served one request and is idle.
    async fn used(&self, host: u8) -> Client {
        let mut client = self.connect(host).await;
        client.send("GET /").await;
        client.head().await;
        client
    }
}

/// Handles a request: `/stream` and `/long` never end, `/events` is a long response that ends,
/// `/large` is larger than the buffers of a socket, `/read` reads its body, and every other path leaves
/// it unread.
async fn respond(
    request: Request<RequestBody>,
    _connection: Connection,
) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let status = match request.uri().path() {
        "/stream" => {
            let frames = stream::pending::<io::Result<Frame<Bytes>>>();
            return Response::new(StreamBody::new(frames).boxed_unsync());
        }
        "/long" => return long(stream::pending()),
        "/events" => {
            let events =
                ["a", "", "0123456789abcdef"].map(|text| Ok(Bytes::from_static(text.as_bytes())));
            return long(stream::iter(events));
        }
        "/large" => {
            let body = Full::new(Bytes::from(vec![b'x'; 16 * MEBIBYTE]));
            return Response::new(body.map_err(|never| match never {}).boxed_unsync());
        }
        "/read" => {
            let body = request.into_body().collect().await;
            body.map_or(StatusCode::BAD_REQUEST, |_| StatusCode::OK)
        }
        "/" => StatusCode::OK,
        _ => StatusCode::PAYLOAD_TOO_LARGE,
    };
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn long(
    data: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let frames = data.map_ok(Frame::data);
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.extensions_mut().insert(LongResponse);
    response
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, request_line: &str) {
        self.send_with(request_line, "").await;
    }

    async fn send_with(&mut self, request_line: &str, headers: &str) {
        let head = format!("{request_line} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        self.0.write_all(head.as_bytes()).await.unwrap();
    }

    /// Reads up to the end of a head.
    async fn head(&mut self) -> String {
        let reading = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await.unwrap());
            }
            String::from_utf8(head).unwrap()
        };
        timeout(SOON, reading).await.expect("a response")
    }

    /// Reads up to the end of the connection. A reset is an error.
    async fn rest(&mut self) -> io::Result<String> {
        let mut text = String::new();
        timeout(SOON, self.0.read_to_string(&mut text)).await.expect("an end")?;
        Ok(text)
    }

    async fn is_open(&mut self) -> bool {
        timeout(Duration::from_millis(100), self.0.read_u8()).await.is_err()
    }
}

fn open(open: usize) -> Limits {
    Limits { connections: ConnectionLimits { open, lingering: 2, for_probes: 0 }, ..LIMITS }
}

#[tokio::test]
async fn idle_connections_of_one_address_do_not_block_others() {
    let server = Server::start(open(4)).await;
    let mut early = server.used(2).await;
    let mut held = Vec::new();
    for index in 0..12 {
        let mut client = server.connect(1).await;
        match index % 3 {
            0 => {}
            1 => client.0.write_all(b"GET / HTTP/1.1\r\nhost").await.unwrap(),
            _ => {
                client.send("GET /").await;
                client.head().await;
            }
        }
        held.push(client);
    }
    server.used(3).await;
    early.send("GET /").await;
    assert!(
        early.head().await.contains("200"),
        "the longest-idle connection, from another address, stays open"
    );
    let mut left = 0;
    for client in &mut held {
        left += usize::from(client.is_open().await);
    }
    assert!((1..4).contains(&left), "{left} are left");
    assert!(!held[0].is_open().await, "the longest-idle one is closed first");
}

#[tokio::test]
async fn a_connection_with_a_request_is_never_evicted() {
    let server = Server::start(open(2)).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect(1).await;
        client.send("GET /stream").await;
        client.head().await;
        streams.push(client);
    }
    let mut waiting = server.connect(2).await;
    waiting.send("GET /").await;
    assert!(waiting.is_open().await, "it waits for room");
    for stream in &mut streams {
        assert!(stream.is_open().await);
    }
    streams.pop();
    assert!(waiting.head().await.contains("200"), "there is room when one has ended");
    let mut next = server.used(2).await;
    assert!(next.is_open().await && streams[0].is_open().await);
    assert!(!waiting.is_open().await, "only the idle one was closed");
}

#[tokio::test]
async fn the_connections_of_a_burst_do_not_evict_each_other() {
    let server = Server::start(open(2)).await;
    let mut burst = Vec::new();
    for _ in 0..4 {
        burst.push(server.connect(1).await);
    }
    // Their requests arrive after the next connections have.
    for client in &mut burst {
        client.send("GET /").await;
    }
    for client in &mut burst {
        assert!(client.head().await.contains("200"));
    }
}

#[tokio::test]
async fn a_connection_that_becomes_idle_makes_room_for_a_waiting_one() {
    let server = Server::start(open(1)).await;
    let mut reading = server.connect(1).await;
    reading.send_with("POST /read", "content-length: 2\r\n").await;
    reading.0.write_all(b"a").await.unwrap();
    assert!(reading.is_open().await);
    let mut waiting = server.connect(2).await;
    waiting.send("GET /").await;
    assert!(waiting.is_open().await);
    reading.0.write_all(b"b").await.unwrap();
    assert!(reading.head().await.contains("200"));
    assert!(waiting.head().await.contains("200"));
}

#[tokio::test]
async fn an_early_response_reaches_a_client_that_keeps_sending() {
    let server = Server::start(LIMITS).await;
    let body = vec![b'x'; 30 * MEBIBYTE];
    for framing in ["content-length: 31457280\r\n", "transfer-encoding: chunked\r\n"] {
        let mut client = server.connect(1).await;
        client.send_with("POST /early", framing).await;
        if framing.starts_with("transfer") {
            client.0.write_all(b"1e00000\r\n").await.unwrap();
        }
        // The client reads nothing before everything is sent.
        timeout(SOON, client.0.write_all(&body)).await.expect("the body is discarded").unwrap();
        let response = client.rest().await.expect("no reset");
        assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
        assert!(response.to_lowercase().contains("\r\nconnection: close\r\n"), "{response}");
    }
}

#[tokio::test]
async fn the_response_to_invalid_http_reaches_a_client_that_keeps_sending() {
    let server = Server::start(LIMITS).await;
    for (bytes, status) in [(b'x', "431"), (b' ', "400")] {
        let mut client = server.connect(1).await;
        client.0.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        let mut rest = vec![bytes; 4 * MEBIBYTE];
        if status == "400" {
            rest[..3].copy_from_slice(b"\x01\r\n");
        }
        client.0.write_all(&rest).await.unwrap();
        let response = client.rest().await.expect("no reset");
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
    }
}

#[tokio::test]
async fn a_small_unread_body_leaves_the_connection_usable() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect(1).await;
    for _ in 0..2 {
        client.send_with("POST /early", "content-length: 3\r\n").await;
        client.0.write_all(b"abc").await.unwrap();
        let head = client.head().await.to_lowercase();
        assert!(head.contains("413") && !head.contains("connection: close"), "{head}");
    }
    // This client waits for 100 Continue and sends no body.
    let headers = "content-length: 3\r\nexpect: 100-continue\r\n";
    client.send_with("POST /early", headers).await;
    let response = client.rest().await.unwrap().to_lowercase();
    assert!(response.starts_with("http/1.1 413 "), "{response}");
    assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
}

#[tokio::test]
async fn lingering_ends_at_each_limit() {
    let brief = Duration::from_millis(300);
    let unlimited = LingerLimits { time: SOON * 6, pause: SOON * 6, bytes: usize::MAX };
    for linger in [
        LingerLimits { time: brief, ..unlimited },
        LingerLimits { pause: brief, ..unlimited },
        LingerLimits { bytes: MEBIBYTE, ..unlimited },
    ] {
        let server = Server::start(Limits { linger, ..LIMITS }).await;
        let mut client = server.connect(1).await;
        client.send_with("POST /early", "content-length: 99999999999\r\n").await;
        assert!(client.rest().await.unwrap().contains("413"), "the write side closes at once");
        let sending = async {
            let piece = vec![0; 64 * 1024];
            while client.0.write_all(&piece).await.is_ok() {
                if linger.pause == brief {
                    sleep(2 * brief).await;
                } else {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        };
        timeout(SOON, sending).await.unwrap_or_else(|_| panic!("{linger:?} has no effect"));
    }
}

#[tokio::test]
async fn lingering_connections_of_one_address_do_not_evict_those_of_another() {
    let server = Server::start(open(100)).await;
    let mut clients = Vec::new();
    for host in [2, 1, 1, 1, 1, 1] {
        let mut client = server.connect(host).await;
        client.send_with("POST /early", "content-length: 99999999999\r\n").await;
        assert!(client.rest().await.unwrap().contains("413"));
        clients.push(client);
    }
    let mut lingering = Vec::new();
    for client in &mut clients {
        let _reset_comes_after = client.0.write_all(b"x").await;
        sleep(Duration::from_millis(50)).await;
        lingering.push(client.0.write_all(b"x").await.is_ok());
    }
    assert_eq!(lingering, [true, false, false, false, false, true]);
}

#[tokio::test]
async fn stopping_closes_idle_connections_without_waiting() {
    let server = Server::start(LIMITS).await;
    let mut idle = server.used(1).await;
    let mut unused = server.connect(1).await;
    assert!(unused.is_open().await);
    server.stop.cancel();
    assert_eq!(idle.rest().await.unwrap(), "");
    assert_eq!(unused.rest().await.unwrap(), "");
    timeout(SOON, server.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_is_closed_at_its_time_limit() {
    let connection_time = Some(Duration::from_millis(300));
    let server = Server::start(Limits { connection_time, ..LIMITS }).await;
    let mut client = server.connect(1).await;
    client.send("GET /stream").await;
    assert!(client.head().await.contains("200"));
    assert!(client.is_open().await);
    let _ended = client.rest().await;
}

#[tokio::test]
async fn without_keep_alive_a_connection_has_one_request() {
    let server = Server::start(Limits { keep_alive: false, ..LIMITS }).await;
    let mut client = server.connect(1).await;
    client.send("GET /").await;
    let response = client.rest().await.unwrap().to_lowercase();
    assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
}

/// The chunks of `/events`.
const EVENTS: &str = "1\r\na\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";

#[tokio::test]
async fn a_long_response_is_sent_in_chunks_and_closes_the_connection() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect(1).await;
    client.send("GET /events").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for header in ["\r\ntransfer-encoding: chunked\r\n", "\r\nconnection: close\r\n", "\r\ndate: "]
    {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(client.rest().await.unwrap(), EVENTS);
}

#[tokio::test]
async fn a_long_response_follows_the_responses_to_earlier_requests() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect(1).await;
    client.send("GET /large").await;
    client.send("GET /events").await;
    assert!(client.head().await.contains("content-length: 16777216\r\n"));
    let rest = client.rest().await.unwrap();
    let (large, events) = rest.split_at(16 * MEBIBYTE);
    assert!(large.bytes().all(|byte| byte == b'x'));
    assert!(events.starts_with("HTTP/1.1 200 OK\r\n") && events.ends_with(EVENTS), "{events}");
}

#[tokio::test]
async fn a_request_behind_a_long_response_is_read_before_the_connection_closes() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect(1).await;
    client.send("GET /events").await;
    client.send("GET /").await;
    let rest = client.rest().await.expect("no reset");
    assert!(rest.ends_with(EVENTS), "{rest}");
}

#[tokio::test]
async fn a_client_that_disconnects_ends_its_long_response() {
    let server = Server::start(open(1)).await;
    let mut client = server.connect(1).await;
    client.send("GET /long").await;
    client.head().await;
    let mut waiting = server.connect(2).await;
    waiting.send("GET /").await;
    assert!(waiting.is_open().await, "it waits for room");
    drop(client);
    assert!(waiting.head().await.contains("200"));
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect(1).await;
    client.0.write_all(b"GET /events HTTP/1.0\r\nhost: x\r\n\r\n").await.unwrap();
    let head = client.head().await;
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(client.rest().await.unwrap(), "a0123456789abcdef");
}
