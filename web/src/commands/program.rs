//! Formats a command line that starts this program again, for messages.

use std::{borrow::Cow, env, path::Path};

use app::config::variables::{self, Variable};

/// Variables that select the data of a command, or the server for which a token is made.
const IDENTITY: [Variable; 5] = [
    variables::PUBLIC_URL,
    variables::PORT,
    variables::DATA_DIR,
    variables::DATABASE_URL,
    variables::JWT_SIGNING_SECRET,
];

/// Is shown in place of a secret value.
const HIDDEN: &str = "…";

/// Returns the command line that starts this program the way the user did, with these arguments and
/// with the environment variables that select the same data. `given` replaces some of these
/// variables. Secrets are shown as `…`.
pub(super) fn command_with(given: &[(Variable, String)], arguments: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment of the command line is not configuration"
    )]
    let variable = |name: &str| env::var(name).ok();
    let executable = env::current_exe().unwrap_or_default();
    Invocation { typed: env::args().next(), executable: &executable, variable: &variable }
        .command_with(given, arguments)
}

/// How this program was started.
struct Invocation<'a> {
    /// `argv[0]`: the name of the program as typed.
    typed: Option<String>,
    executable: &'a Path,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Invocation<'_> {
    fn command(&self) -> String {
        if self.is_cargo_run() {
            return match self.profile() {
                "debug" => "cargo run -q --".to_owned(),
                "release" => "cargo run -q --release --".to_owned(),
                profile => format!("cargo run -q --profile {} --", quoted(profile)),
            };
        }
        match self.typed.as_deref() {
            None | Some("") => quoted(&self.executable.to_string_lossy()).into_owned(),
            Some(typed) => quoted(typed).into_owned(),
        }
    }

    /// Cargo sets these variables for a program that it runs. A test that starts this program has
    /// the name of another package.
    fn is_cargo_run(&self) -> bool {
        (self.variable)("CARGO").is_some()
            && (self.variable)("CARGO_PKG_NAME").as_deref() == Some(env!("CARGO_PKG_NAME"))
    }

    /// The build profile, from the name of the target directory.
    fn profile(&self) -> &str {
        let directory = self.executable.parent().and_then(Path::file_name);
        directory.and_then(|name| name.to_str()).unwrap_or("debug")
    }

    fn command_with(&self, given: &[(Variable, String)], arguments: &str) -> String {
        let mut words = Vec::new();
        for variable in IDENTITY {
            let given = given.iter().find(|(other, _)| other.name == variable.name);
            let inherited = || (self.variable)(variable.name).filter(|value| !value.is_empty());
            if let Some(value) = given.map(|(_, value)| value.clone()).or_else(inherited) {
                words.push(format!("{}={}", variable.name, shown(&variable, &value)));
            }
        }
        let command = self.command();
        words.push(match arguments {
            // Without arguments for the program, cargo needs no separator.
            "" => command.trim_end_matches(" --").to_owned(),
            arguments => format!("{command} {arguments}"),
        });
        words.join(" ")
    }
}

/// A value for display; [`HIDDEN`] if it is or may contain a secret.
fn shown<'a>(variable: &Variable, value: &'a str) -> Cow<'a, str> {
    let is_file = value.starts_with("sqlite:");
    match variable.name {
        name if name == variables::JWT_SIGNING_SECRET.name => HIDDEN.into(),
        name if name == variables::DATABASE_URL.name && !is_file => HIDDEN.into(),
        _ => quoted(value),
    }
}

/// Quotes a word for a shell if necessary.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:=@%+,~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn started(typed: &str, executable: &str, environment: &[(&str, &str)]) -> (String, String) {
        let environment: HashMap<_, _> = environment.iter().copied().collect();
        let variable = |name: &str| environment.get(name).map(ToString::to_string);
        let typed = Some(typed.to_owned());
        let invocation =
            Invocation { typed, executable: Path::new(executable), variable: &variable };
        (invocation.command_with(&[], ""), invocation.command_with(&[], "token --user me"))
    }

    #[test]
    fn the_command_is_named_as_it_was_started() {
        let web = env!("CARGO_PKG_NAME");
        let by_cargo = [("CARGO", "/bin/cargo"), ("CARGO_PKG_NAME", web)];
        let by_a_test = [("CARGO", "/bin/cargo"), ("CARGO_PKG_NAME", "tests")];
        for (typed, executable, environment, expected) in [
            ("target/debug/notes-mcp", "/r/target/debug/notes-mcp", &by_cargo[..], "cargo run -q"),
            (
                "/elsewhere/release/notes-mcp",
                "/elsewhere/release/notes-mcp",
                &by_cargo,
                "cargo run -q --release",
            ),
            (
                "target/bench/notes-mcp",
                "/r/target/bench/notes-mcp",
                &by_cargo,
                "cargo run -q --profile bench",
            ),
            ("target/debug/notes-mcp", "/r/target/debug/notes-mcp", &[], "target/debug/notes-mcp"),
            (
                "./target/release/notes-mcp",
                "/r/target/release/notes-mcp",
                &by_a_test,
                "./target/release/notes-mcp",
            ),
            ("notes-mcp", "/usr/local/bin/notes-mcp", &[], "notes-mcp"),
            ("my notes/it's", "/r/my notes/it's", &[], r"'my notes/it'\''s'"),
            ("", "/usr/local/bin/notes-mcp", &[], "/usr/local/bin/notes-mcp"),
        ] {
            let (alone, token) = started(typed, executable, environment);
            assert_eq!(alone, expected, "{typed}");
            let separator = if expected.starts_with("cargo") { " --" } else { "" };
            assert_eq!(token, format!("{expected}{separator} token --user me"), "{typed}");
        }
    }

    #[test]
    fn the_command_repeats_variables_but_hides_secrets() {
        let (alone, _) = started(
            "notes-mcp",
            "/bin/notes-mcp",
            &[
                ("DATA_DIR", "/tmp/my notes"),
                ("PORT", "9000"),
                ("HOST", "127.0.0.1"),
                ("PUBLIC_URL", ""),
                ("DATABASE_URL", "postgres://me:secret@db/notes"),
                ("JWT_SIGNING_SECRET", "secret"),
            ],
        );
        assert_eq!(
            alone,
            "PORT=9000 DATA_DIR='/tmp/my notes' DATABASE_URL=… JWT_SIGNING_SECRET=… notes-mcp"
        );
        let (alone, _) = started("notes-mcp", "", &[("DATABASE_URL", "sqlite:/a/b.db?mode=rwc")]);
        assert_eq!(alone, "DATABASE_URL='sqlite:/a/b.db?mode=rwc' notes-mcp");
    }

    #[test]
    fn a_given_value_replaces_that_of_the_environment() {
        let variable = |name: &str| (name == "PORT").then(|| "8080".to_owned());
        let typed = Some("notes-mcp".to_owned());
        let invocation = Invocation { typed, executable: Path::new(""), variable: &variable };
        let given = [(variables::PORT, "8081".to_owned())];
        assert_eq!(invocation.command_with(&given, ""), "PORT=8081 notes-mcp");
    }
}
