//! The commands `clients create` and, for service clients, `clients revoke`.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use app::App;
use clap::Args;
use oauth::{
    audit::RequestInfo,
    client::ClientId,
    service_client::{self, Created, CredentialsOf, NewServiceClient, ServiceName},
};
use platform::{fetch::Address, terminal::say};

/// The maximum size of a file with keys, in bytes. A larger one is refused when it is parsed.
const MAX_FILE_BYTES: u64 = 65 * 1024;

/// Options of the new client.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The name of the service account: several clients of one name share its data
    #[arg(long, value_name = "NAME", value_parser = ServiceName::parse)]
    name: ServiceName,
    /// The scopes that the client may have, separated by spaces
    #[arg(long, value_name = "SCOPES")]
    scopes: String,
    /// The client authenticates with a key: a file with its public keys (a JWK Set), or `-` for
    /// standard input
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// The client authenticates with a key: the https URL of its public keys (a JWK Set)
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
}

/// Creates a client, and prints its id, and its secret if it has one, to standard output.
pub(super) async fn create(app: &App, options: Options) -> anyhow::Result<()> {
    let Options { name, scopes, jwks, jwks_uri } = options;
    let all = app.config().product.scopes();
    let unknown = scopes.split_whitespace().find(|name| all.get(name).is_none());
    if let Some(unknown) = unknown {
        bail!("there is no scope `{unknown}`; there are: {}", all.all());
    }
    let scope = all.known(&scopes.split_whitespace().collect::<Vec<_>>().join(" "));
    if scope.is_empty() {
        bail!("--scopes must name at least one of: {}", all.all());
    }
    let credentials = match (jwks, jwks_uri) {
        (Some(file), _) => {
            let keys = service_client::parse_keys(&read(&file)?);
            let keys = keys.map_err(|why| anyhow::anyhow!("{} {why}", file.display()))?;
            CredentialsOf::Keys(keys)
        }
        (None, Some(url)) => {
            let address = Address::parse(&url, app.config().public_url.host());
            CredentialsOf::KeysAt(address.with_context(|| format!("{url} cannot be fetched"))?)
        }
        (None, None) => CredentialsOf::Secret,
    };
    let new = NewServiceClient { name, scope: scope.clone(), credentials };
    let created = service_client::create(app.oauth(), new, &RequestInfo::none()).await;
    print(app, &created.context("could not create the client")?, &scope.to_string())
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        io::stdin().take(MAX_FILE_BYTES).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text))
    };
    read.with_context(|| format!("could not read {}", file.display()))?;
    Ok(text)
}

fn print(app: &App, created: &Created, scope: &str) -> anyhow::Result<()> {
    let Created { id, user, secret } = created;
    let mut text = format!("client_id={id}");
    if let Some(secret) = secret {
        text.extend(["\nclient_secret=", secret.expose()]);
    }
    writeln!(io::stdout(), "{text}").context("could not print the client")?;
    say(format_args!("A client of the account {user}, with the scopes: {scope}"));
    if secret.is_some() {
        say(
            "The secret is shown only now. Store it like a password; to replace it, create another \
             client of the same name, and revoke this one.",
        );
    } else {
        say("It authenticates with private_key_jwt: a JWT that is signed with its key.");
    }
    if !app.config().oauth.client_credentials {
        say("CLIENT_CREDENTIALS is not on: until it is, the server refuses the grant type \
             client_credentials.");
    }
    Ok(())
}

/// Revokes a service client.
pub(super) async fn revoke(app: &App, id: ClientId) -> anyhow::Result<()> {
    let revoked = service_client::revoke(app.oauth(), &id, &RequestInfo::none()).await;
    if !revoked.context("could not revoke the client")? {
        bail!("there is no client `{id}`, or it has already been revoked");
    }
    say(format_args!(
        "The client `{id}` is revoked and gets no more tokens. Within seconds no server accepts its \
         access tokens, and streams, jobs and export links that were started with them end. What its \
         account has stored is kept."
    ));
    Ok(())
}
