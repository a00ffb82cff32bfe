//! A response that is sent before the request body was read reaches the client, whether the client sends
//! the whole body before it reads, or reads while it sends.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use reqwest::Method;
use tests::{
    client::{Page, Web},
    cluster::{Cluster, Database, Setup},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// More than the socket buffers of both sides hold.
const BODY: usize = 16 << 20;

/// One chunk of it.
const PIECE: usize = 64 << 10;

/// Longer than any of these takes on a busy machine.
const SOON: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A request whose body is not read completely, and the status of its response.
struct Early {
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    status: u16,
}

fn early(
    method: Method,
    path: &'static str,
    status: u16,
    headers: &[(&'static str, &str)],
) -> Early {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Early { method, path, headers, status }
}

/// One for each status and each kind of endpoint.
fn all(token: &str) -> Vec<Early> {
    let bearer = format!("Bearer {token}");
    let authorized = ("authorization", bearer.as_str());
    let (json, form) = (("content-type", JSON), ("content-type", FORM));
    vec![
        early(Method::POST, "/mcp", 413, &[authorized, json]),
        early(Method::POST, "/mcp/", 413, &[authorized, json]),
        early(Method::POST, "/mcp", 401, &[json]),
        early(Method::POST, "/mcp", 401, &[("authorization", "Bearer nonsense"), json]),
        early(Method::POST, "/mcp", 421, &[authorized, json, ("host", "evil.example")]),
        early(Method::POST, "/mcp", 403, &[authorized, json, ("origin", "http://evil.example")]),
        early(Method::PUT, "/mcp", 405, &[authorized, json]),
        early(Method::POST, "/token", 413, &[form]),
        early(Method::POST, "/revoke", 413, &[form]),
        early(Method::POST, "/register", 413, &[json]),
        early(Method::POST, "/register", 400, &[form]),
        early(Method::POST, "/token", 421, &[form, ("host", "evil.example")]),
        early(Method::POST, "/consent", 403, &[form]),
        early(Method::POST, "/account", 403, &[form]),
        early(Method::POST, "/healthz", 405, &[json]),
        early(Method::POST, "/.well-known/jwks.json", 405, &[json]),
        early(Method::POST, "/nothing", 404, &[json]),
    ]
}

impl Early {
    /// Sends the whole request before it reads, as blocking clients do.
    async fn sent_first(&self, web: &Web, chunked: bool) -> io::Result<String> {
        let address = web.origin().trim_start_matches("http://");
        let host = ("host", address.to_owned());
        let names_host = self.headers.iter().any(|(name, _)| *name == "host");
        let framing = if chunked {
            format!("transfer-encoding: chunked\r\n\r\n{BODY:x}")
        } else {
            format!("content-length: {BODY}\r\n")
        };
        let request_line = format!("{} {} HTTP/1.1", self.method, self.path);
        let fields = self.headers.iter().chain((!names_host).then_some(&host));
        let fields = fields.map(|(name, value)| format!("{name}: {value}"));
        let lines: Vec<String> =
            [request_line].into_iter().chain(fields).chain([framing]).collect();
        let head = lines.join("\r\n") + "\r\n";
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(&vec![b' '; BODY]).await?;
        let mut response = String::new();
        socket.read_to_string(&mut response).await?;
        Ok(response)
    }

    /// Sends the request with a client that reads at the same time.
    async fn sent_by_reqwest(&self, web: &Web, chunked: bool) -> Page {
        let mut request = web.request(self.method.clone(), self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = if chunked {
            let piece = Bytes::from(vec![b' '; PIECE]);
            let pieces = std::iter::repeat_n(piece, BODY / PIECE).map(Ok::<_, io::Error>);
            reqwest::Body::wrap_stream(stream::iter(pieces))
        } else {
            vec![b' '; BODY].into()
        };
        Page::read(request.body(body)).await
    }

    /// The invalid requests before may have used up their share.
    fn expects(&self, status: u16) -> bool {
        status == self.status || status == 429
    }
}

#[tokio::test]
async fn a_response_before_the_body_reaches_every_client() {
    let cluster = Setup::new(Database::Sqlite).instances(2).start().await;
    let token = cluster.token("ada").await;
    for (number, early) in all(&token).into_iter().enumerate() {
        let web = cluster.web(number % 2);
        let what = format!("{} {} ({})", early.method, early.path, early.status);
        for chunked in [false, true] {
            let sending = early.sent_first(web, chunked);
            let response = timeout(SOON, sending).await.unwrap_or_else(|_| panic!("{what} hangs"));
            let response = response.unwrap_or_else(|error| panic!("{what}: {error}"));
            let status = response[9..12].parse().unwrap();
            assert!(early.expects(status), "{what}: {response}");
            let head = response.split("\r\n\r\n").next().unwrap().to_lowercase();
            assert!(head.contains("\r\nconnection: close"), "{what}: {head}");

            let page = early.sent_by_reqwest(web, chunked).await;
            assert!(early.expects(page.status.as_u16()), "{what}: {}", page.text());
            assert!(page.text().len() > 10, "{what}: no explanation");
        }
    }
}

#[tokio::test]
async fn a_limit_that_is_used_up_is_said_before_the_body() {
    let cluster = Cluster::on_postgres(2).await;
    let early = early(Method::POST, "/register", 429, &[("content-type", JSON)]);
    for number in 0..100 {
        let web = cluster.web(number % 2);
        let refused =
            web.request(Method::POST, "/register").header("content-type", JSON).body("{}");
        if Page::read(refused).await.status == 429 {
            break;
        }
    }
    for number in 0..2 {
        let sending = early.sent_first(cluster.web(number), false);
        let response = timeout(SOON, sending).await.unwrap().unwrap();
        assert!(response.starts_with("HTTP/1.1 429 "), "{response}");
    }
}
