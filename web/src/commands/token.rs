//! The command `token`: prints an access token.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, bail};
use app::config::Config;
use clap::Args;
use oauth::{
    access_token::{MAX_TTL, NewToken},
    login::users,
    scope::{Scope, ScopeList},
};
use platform::terminal::say;

use super::connect::connect;

/// Options of the token.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The user: a short name such as `me`, or a full identity such as `github:1234567`
    #[arg(long, value_name = "NAME", value_parser = identity)]
    user: mcp::UserId,
    // `with_scopes` replaces the parser and the default, and adds the help.
    #[arg(long, value_name = "SCOPES", default_value = "", value_parser = without_product)]
    scope: Scopes,
    /// The lifetime: a number with s, m or h; at most 24h
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = duration)]
    ttl: Duration,
}

/// Adds the help, the default and the parser of the option `--scope`, which depend on the scopes of
/// the product.
pub(super) fn with_scopes(command: clap::Command, scopes: ScopeList) -> clap::Command {
    let described: Vec<_> =
        scopes.0.iter().map(|scope| format!("{} ({})", scope.name, scope.words)).collect();
    command.mut_arg("scope", |argument| {
        argument
            .help(format!("The granted scopes, separated by spaces: {}", described.join(", ")))
            .default_value(scopes.defaults().to_string())
            .value_parser(move |text: &str| self::scopes(scopes, text))
    })
}

/// The parser of `--scope` until [`with_scopes`] replaces it.
fn without_product(_: &str) -> Result<Scopes, String> {
    Err("the scopes are those of the product, which is not known yet".to_owned())
}

/// Scopes, known and unknown, each in alphabetical order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scopes {
    known: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

/// The client id of these tokens, which no registered client requested.
const CLIENT: &str = "command-line";

/// Prints a token, and nothing else, to standard output.
pub(super) async fn run(config: Config, options: Options) -> anyhow::Result<()> {
    if config.oauth.dpop.is_required() {
        bail!(
            "DPOP=required accepts only tokens that are bound to a key, which this command cannot \
             issue; set DPOP=allowed to use its tokens"
        );
    }
    let (_, app) = connect(&config).await?;
    let Options { user, scope, ttl } = options;
    let found = users::get(app.db(), &user).await.context("could not look up the user")?;
    if found.is_some_and(|found| users::is_blocked(&found)) {
        bail!("{user} is blocked, so no token would be accepted; `users unblock {user}` first");
    }
    // Loads the revocations, so that the token is not issued in the second of an earlier revocation.
    app.oauth().revoked().load().await.context("could not read the revocations")?;
    let token = app
        .oauth()
        .tokens()
        .mint(NewToken {
            user: user.clone(),
            client: CLIENT.into(),
            scopes: scope.known.clone(),
            session_id: session_id(),
            signed_in_at: None,
            ttl: Some(ttl),
            dpop_key: None,
        })
        .await
        .context("could not create the token")?;

    let all = config.product.scopes();
    for unknown in scope.unknown {
        let known = all.all();
        say(format_args!("Ignored the unknown scope `{unknown}`. The scopes are: {known}"));
    }
    let is_granted = |offered: &&Scope| scope.known.contains(offered.name);
    let granted = listed(all.0.iter().filter(is_granted));
    say(format_args!("An access token for {user} with the scopes:\n{granted}"));
    let missing = listed(all.0.iter().filter(|offered| !is_granted(offered)));
    if !missing.is_empty() {
        say(format_args!("Not granted; name them with --scope if needed:\n{missing}"));
    }
    say(format_args!(
        "It is valid at {} for {}.\n\
         Anyone who has it can use these {}: treat it like a password. `users block` ends it, and so \
         does `keys revoke`.",
        config.public_url.mcp(),
        describe_duration(ttl),
        config.product.brand().things,
    ));
    writeln!(io::stdout(), "{token}").context("could not print the token")
}

/// The scopes with their descriptions, one per line.
fn listed(scopes: impl Iterator<Item = &'static Scope>) -> String {
    let line = |scope: &Scope| format!("  {}  {}", scope.name, scope.words);
    scopes.map(line).collect::<Vec<_>>().join("\n")
}

/// Parses an identity such as `github:1234567`; a name without a provider is a development user.
pub(super) fn identity(text: &str) -> Result<mcp::UserId, String> {
    let (kind, name) = text.split_once(':').unwrap_or(("dev", text));
    let well_formed = |part: &str| {
        !part.is_empty()
            && part.len() <= 64
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if well_formed(kind) && well_formed(name) {
        Ok(mcp::UserId::new(format!("{kind}:{name}")))
    } else {
        Err("use letters, digits, dots, dashes and underscores, as in `me` or `github:1234567`"
            .into())
    }
}

fn scopes(all: ScopeList, text: &str) -> Result<Scopes, String> {
    let (known, unknown): (BTreeSet<_>, BTreeSet<_>) = text
        .split_whitespace()
        .map(ToOwned::to_owned)
        .partition(|name: &String| all.get(name).is_some());
    match unknown.first() {
        _ if !known.is_empty() => Ok(Scopes { known, unknown }),
        Some(unknown) => Err(format!("there is no scope `{unknown}`; there are: {}", all.all())),
        None => Err(format!("name at least one of: {}", all.all())),
    }
}

/// Units of a duration, longest first, in seconds.
const UNITS: [(&str, &str, u64); 3] =
    [("h", "hours", 60 * 60), ("m", "minutes", 60), ("s", "seconds", 1)];

fn duration(text: &str) -> Result<Duration, String> {
    let read = |(unit, _, seconds): &(&str, &str, u64)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(*seconds)?))
    };
    match UNITS.iter().find_map(read) {
        Some(ttl) if ttl.is_zero() => Err("the token would expire at once".into()),
        Some(ttl) if ttl > MAX_TTL => Err(format!("at most {}", describe_duration(MAX_TTL))),
        Some(ttl) => Ok(ttl),
        None => Err("use a number with s, m or h, as in `12h`".into()),
    }
}

/// The duration in the longest unit that divides it.
fn describe_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let unit = UNITS.iter().find(|unit| seconds.is_multiple_of(unit.2));
    let (_, name, size) = unit.expect("every duration is a multiple of one second");
    match seconds / size {
        1 => format!("1 {}", name.trim_end_matches('s')),
        number => format!("{number} {name}"),
    }
}

/// Returns the `sid` of a new token. It is not the id of a grant: only the revocation of all access of
/// the user, or of the signing key, invalidates the token, and its calls are not counted for an app.
fn session_id() -> String {
    format!("{CLIENT}-{}", uuid::Uuid::new_v4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_of_a_token_is_not_a_grant() {
        let id = session_id();
        assert!(uuid::Uuid::try_parse(&id).is_err(), "{id} could be the id of a grant");
        assert_ne!(id, session_id());
    }

    const EXAMPLE: ScopeList = ScopeList(&[
        Scope::reads("notes:read", "Read your notes"),
        Scope::writes("notes:write", "Create, change and delete your notes"),
    ]);

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("12h", 43_200), ("24h", 86_400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for wrong in
            ["", "h", "12", "-1h", "1.5h", "0s", "25h", "1d", "18446744073709551615h", "1 h"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(describe_duration(Duration::from_hours(12)), "12 hours");
        assert_eq!(describe_duration(Duration::from_hours(24)), "24 hours");
        assert_eq!(describe_duration(Duration::from_secs(90)), "90 seconds");
    }

    #[test]
    fn a_short_name_is_a_development_user() {
        assert_eq!(identity("me").unwrap().as_str(), "dev:me");
        assert_eq!(identity("github:42").unwrap().as_str(), "github:42");
        for wrong in ["", ":", "a:", ":a", "a b", "a:b:c", "ä"] {
            assert!(identity(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_help_and_the_list_name_every_scope() {
        use clap::CommandFactory as _;

        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            _options: Options,
        }
        let help = with_scopes(Program::command(), EXAMPLE).render_long_help().to_string();
        let list = listed(EXAMPLE.0.iter());
        for Scope { name, words, .. } in EXAMPLE.0 {
            assert!(help.contains(name), "{help}");
            let line = format!("  {name}  {words}");
            assert!(list.lines().any(|other| other == line), "{list}");
        }
    }

    #[test]
    fn only_known_scopes_are_granted() {
        let scopes_of = |text| scopes(EXAMPLE, text).map(|scopes| Vec::from_iter(scopes.known));
        assert_eq!(scopes_of("notes:read"), Ok(vec!["notes:read".to_owned()]));
        assert!(scopes_of("notes:write  notes:read").is_ok());
        assert_eq!(scopes_of("openid notes:read"), Ok(vec!["notes:read".to_owned()]));
        assert!(scopes(EXAMPLE, "openid notes:read").unwrap().unknown.contains("openid"));
        assert!(scopes_of("").is_err());
        assert!(scopes_of("notes:admin").unwrap_err().contains("notes:admin"));
    }
}
