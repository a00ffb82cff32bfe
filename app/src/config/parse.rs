//! Parses the values of variables. The errors continue a sentence that begins with the name of the
//! variable.

use std::{fmt, net::IpAddr, path::Path, time::Duration};

use ipnet::IpNet;
use oauth::{dpop, redirect_uri::Schemes};
use platform::{
    public_url::{is_loopback, origin},
    secret::Secret,
    telemetry::{self, LogFormat},
};
use url::Url;

use super::types::Mode;

/// The minimum length of a secret in bytes; a shorter one could be guessed.
pub(super) const MIN_SECRET_BYTES: usize = 32;

pub(super) fn number<T>(text: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display + Copy,
{
    match text.parse() {
        Ok(number) if least <= number && number <= most => Ok(number),
        _ => Err(format!("must be a whole number from {least} to {most}; it is “{text}”")),
    }
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|error| {
        format!("must be an IP address such as 127.0.0.1; it is “{text}”: {error}")
    })
}

/// Parses a whole number with a unit (`s`, `m`, `h`, `d`), or a number of seconds without one.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// Splits a comma-separated list into its entries. Fails if it has none.
pub(super) fn entries(text: &str) -> Result<impl Iterator<Item = &str>, String> {
    let mut entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).peekable();
    match entries.peek() {
        Some(_) => Ok(entries),
        None => Err("is a list without entries: remove the variable, or add an entry".to_owned()),
    }
}

pub(super) fn origins(text: &str) -> Result<Vec<String>, String> {
    entries(text)?
        .map(|entry| origin(entry).map(|url| url.origin().ascii_serialization()))
        .collect()
}

/// Parses networks in CIDR notation; a single address is a network of one address.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    entries(text)?
        .map(|entry| entry.parse().or_else(|_not_cidr| entry.parse::<IpAddr>().map(IpNet::from)))
        .collect::<Result<_, _>>()
        .map_err(|_not_an_address| {
            "must be networks such as 192.0.2.0/24, separated by commas".to_owned()
        })
}

/// Returns whether an unencoded character in the password ends the host of a URL too early, so that
/// the rest of the URL has another meaning: `user:pa/ss@host` has the host `user`.
fn has_unencoded_password(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    !authority.contains('@') && rest.contains('@')
}

const ENCODE_PASSWORD: &str =
    "percent-encode / # ? @ and % in the password, as %2F %23 %3F %40 and %25";

pub(super) fn redis_url(text: &str) -> Result<Secret, String> {
    if has_unencoded_password(text) {
        return Err(format!("cannot be read: {ENCODE_PASSWORD}"));
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "redis" | "rediss"));
    match url {
        Some(url) if url.has_host() => Ok(Secret::new(text)),
        _ => {
            Err(format!("must begin with redis:// or rediss:// and name a host; {ENCODE_PASSWORD}"))
        }
    }
}

/// Validates a database URL. The problem does not repeat the value, which may contain a password.
pub(super) fn database_url(text: &str, mode: Mode) -> Result<Secret, String> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    if matches!(scheme, Some("postgres" | "postgresql")) {
        let url = Url::parse(text).ok().filter(Url::has_host);
        if url.is_none() || has_unencoded_password(text) {
            return Err(format!(
                "must be a URL such as postgres://user:password@host/name; {ENCODE_PASSWORD}"
            ));
        }
    }
    match (scheme, mode) {
        (Some("postgres" | "postgresql"), _) | (Some("sqlite"), Mode::Embedded) => {
            Ok(Secret::new(text))
        }
        (Some("sqlite"), Mode::Deployed) => Err("must be a Postgres database, which several \
             instances can share, when PUBLIC_URL is not a loopback address"
            .into()),
        _ => Err("must begin with postgres://".into()),
    }
}

/// The URL of the SQLite database in the data directory.
pub(super) fn sqlite_file(data_dir: &Path, things: &str) -> Secret {
    let path = data_dir.join(format!("{things}.db"));
    // The two characters that a SQLite URL does not accept as part of a path.
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3F");
    Secret::new(format!("sqlite:{path}"))
}

pub(super) fn secret(text: &str) -> Result<Secret, String> {
    if text.len() < MIN_SECRET_BYTES {
        return Err(format!(
            "must have at least {MIN_SECRET_BYTES} bytes, and has {}: use the output of `openssl \
             rand -base64 32`",
            text.len()
        ));
    }
    Ok(Secret::new(text))
}

/// Parses a URL to which paths are appended. The problem does not repeat the value, which may
/// contain a password.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    let expected = "must be a URL such as https://login.example.com";
    let url = Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if scheme && bare {
        Ok(url.as_str().trim_end_matches('/').to_owned())
    } else {
        Err(format!(
            "{expected}: https unless it is a loopback address, without a user name, a query or a \
             fragment"
        ))
    }
}

/// Parses the URL of a trace collector, which may use plain HTTP on any host.
pub(super) fn collector(text: &str) -> Result<String, String> {
    let expected = "must be a URL such as http://localhost:4318";
    let url = Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && bare {
        Ok(url.as_str().trim_end_matches('/').to_owned())
    } else {
        Err(format!("{expected}: http or https, without a user name, a query or a fragment"))
    }
}

/// Parses headers. The problem does not repeat the values, which are secrets.
pub(super) fn headers(text: &str) -> Result<Vec<(String, Secret)>, String> {
    let parsed: Option<Vec<_>> = entries(text)?
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            http::HeaderName::try_from(name).ok()?;
            http::HeaderValue::try_from(value).ok()?;
            Some((name.to_owned(), Secret::new(value)))
        })
        .collect();
    parsed.ok_or_else(|| {
        "must be name=value pairs separated by commas, such as api-key=secret".to_owned()
    })
}

pub(super) fn sampling_ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(format!("must be a number from 0 to 1; it is “{text}”")),
    }
}

/// Parses signing secrets: the first one is in use, the others are earlier ones. The value is a list only
/// if every part is long enough for a secret, so that a single secret with a comma in it, set before lists
/// were supported, remains valid.
pub(super) fn signing_secrets(text: &str) -> Result<Vec<Secret>, String> {
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    if parts.iter().all(|part| part.len() >= MIN_SECRET_BYTES) {
        return Ok(parts.into_iter().map(Secret::new).collect());
    }
    secret(text).map(|secret| vec![secret])
}

pub(super) fn data_keys(text: &str) -> Result<Vec<Secret>, String> {
    let secrets: Vec<_> = text.split(',').map(str::trim).collect();
    if secrets.iter().any(|secret| secret.len() < MIN_SECRET_BYTES) {
        return Err(format!(
            "must be secrets of at least {MIN_SECRET_BYTES} bytes each, separated by commas: use \
             the output of `openssl rand -base64 32`"
        ));
    }
    Ok(secrets.into_iter().map(Secret::new).collect())
}

pub(super) fn schemes(text: &str) -> Result<Schemes, String> {
    Schemes::with(entries(text)?.map(str::to_owned)).map_err(|scheme| {
        format!(
            "must be private-use URI schemes in lower case, such as com.example.app, separated by \
             commas; one is “{scheme}”"
        )
    })
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(format!("must be on or off (or true or false); it is “{text}”")),
    }
}

pub(super) fn dpop_mode(text: &str) -> Result<dpop::Mode, String> {
    match text.to_ascii_lowercase().as_str() {
        "off" => Ok(dpop::Mode::Off),
        "allowed" => Ok(dpop::Mode::Allowed),
        "required" => Ok(dpop::Mode::Required),
        _ => Err(format!("must be off, allowed or required; it is “{text}”")),
    }
}

/// The maximum size of a file that is read for a variable, in bytes: hundreds of documents.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Returns JSON that is the value itself, or the content of the file that the value names.
pub(super) fn inline_or_file(text: &str) -> Result<String, String> {
    if text.starts_with(['[', '{']) {
        return Ok(text.to_owned());
    }
    let unreadable =
        |error| format!("must be JSON or the path of a file: {text} cannot be read: {error}");
    if std::fs::metadata(text).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(format!("must name a file of at most 1 MiB; {text} is larger"));
    }
    std::fs::read_to_string(text).map_err(unreadable)
}

/// Log levels, with their names in other programs.
const LEVELS: [(&str, &[&str]); 6] = [
    ("off", &["none"]),
    ("error", &["err", "fatal", "critical"]),
    ("warn", &["warning"]),
    ("info", &["information", "notice"]),
    ("debug", &[]),
    ("trace", &["verbose", "all"]),
];

fn level(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let named = LEVELS.iter().find(|(name, others)| *name == text || others.contains(&&*text));
    named.map(|(name, _)| *name)
}

/// Parses a level and `module=level` pairs, as the subscriber reads them. A word that is not a
/// level must be rejected: it would be taken for a module, and turn everything else off.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let wrong = |entry: &str| {
        let levels = LEVELS.map(|(name, _)| name).join(", ");
        format!(
            "must be a level ({levels}), or a level and module=level pairs such as \
             info,oauth=debug; “{entry}” is neither"
        )
    };
    let directives = entries(text)?.map(|entry| match entry.rsplit_once('=') {
        // Filters by span have a different syntax.
        _ if entry.contains(['[', '{']) => Ok(entry.to_owned()),
        Some((module, text)) if !module.trim().is_empty() => {
            let level = level(text.trim()).ok_or_else(|| wrong(entry))?;
            Ok(format!("{}={level}", module.trim()))
        }
        _ => level(entry).map(str::to_owned).ok_or_else(|| wrong(entry)),
    });
    let filter = directives.collect::<Result<Vec<_>, String>>()?.join(",");
    telemetry::parse_filter(&filter).map(|_| filter).map_err(|_unreadable| wrong(text))
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("must be pretty or json; it is “{text}”")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172_800)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in
            ["", "h", "-1", "1.5h", "1 h", "1h30m", "99999999999999999999", "9999999999999999d"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn earlier_signing_secrets_follow_the_current_one() {
        let [old, new] = ["o", "n"].map(|letter| letter.repeat(MIN_SECRET_BYTES));
        let list = |secrets: &[&str]| {
            Ok::<_, String>(secrets.iter().map(|secret| Secret::new(*secret)).collect::<Vec<_>>())
        };
        assert_eq!(signing_secrets(&old), list(&[&old]));
        assert_eq!(signing_secrets(&format!("{new}, {old}")), list(&[&new, &old]));
        // A comma in a secret from before lists were supported.
        let comma = format!("{old},short");
        assert_eq!(signing_secrets(&comma), list(&[&comma]));
        assert!(signing_secrets("short,short").is_err());
    }
}
