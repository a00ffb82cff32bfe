//! An HTTP client with one blocking connection, which sends the same bytes every time.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
};

use anyhow::{Context as _, bail};

pub(super) struct Connection(BufReader<TcpStream>);

pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Connection {
    pub(super) fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request in one piece and reads the response to its end.
    pub(super) fn send(&mut self, request: &[u8]) -> anyhow::Result<Response> {
        self.0.get_mut().write_all(request)?;
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).context("no status")?.parse()?;
        let mut response = Response { status, headers: Vec::new(), body: String::new() };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if let Some(length) = response.header("content-length") {
            let length = length.parse()?;
            self.read(length, &mut response.body)?;
        } else if response.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16)?;
                self.read(size, &mut response.body)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        }
        Ok(response)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }

    fn read(&mut self, length: usize, body: &mut String) -> anyhow::Result<()> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        body.push_str(std::str::from_utf8(&bytes)?);
        Ok(())
    }
}

/// The bytes of a `POST` request.
pub(super) fn post(path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1:38100\r\n");
    for (name, value) in headers {
        request.push_str(name);
        request.push_str(": ");
        request.push_str(value);
        request.push_str("\r\n");
    }
    request.push_str("Content-Length: ");
    request.push_str(&body.len().to_string());
    request.push_str("\r\n\r\n");
    request.push_str(body);
    request.into_bytes()
}
