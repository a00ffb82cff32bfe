//! The paths of the base: jobs and sign-in.

use app::App;
use jobs::{Claim, End, LEASE, Turn};
use mcp::{UserId, job::JobOutcome};
use oauth::{
    access::{self, Authority},
    account,
    client::Client,
    code::{self, NewCode, Redemption},
    grant::TokenSet,
    login::users::{self, SignIn},
    pkce::{Challenge, Verifier},
    refresh::{self, Rotation},
    token_format::PlainCode,
};
use tests::oauth_client::{public_client, request};

use super::{Size, person, plans::Plans};
use crate::bench_jobs::new_job;

/// Where the client receives codes.
const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

/// Jobs that a worker claims, renews or ends at once.
const BATCH: u32 = 16;

pub(super) async fn run(app: &App, plans: &Plans, size: Size) -> anyhow::Result<()> {
    jobs_of_clients(app, plans, size).await?;
    jobs_of_workers(app, plans).await?;
    sign_in(app, plans, size).await?;
    sign_ins_in_use(app, plans, size).await
}

async fn jobs_of_clients(app: &App, plans: &Plans, size: Size) -> anyhow::Result<()> {
    let store = jobs::store(app.jobs());
    plans
        .explain("enqueue a job", async |number| {
            jobs::enqueue(app.jobs(), new_job(person(number, size))).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("get a job", async |number| {
            let job = jobs::enqueue(app.jobs(), new_job(person(number, size))).await?;
            plans.take();
            store.get(&person(number, size), &job.id).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("list jobs", async |number| {
            store.list(&person(number, size), None, 20).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("cancel a job", async |number| {
            let job = jobs::enqueue(app.jobs(), new_job(person(number, size))).await?;
            plans.take();
            store.cancel(&person(number, size), &job.id).await?;
            Ok(())
        })
        .await
}

/// Claims jobs of the queue, and ends them.
async fn jobs_of_workers(app: &App, plans: &Plans) -> anyhow::Result<()> {
    for path in ["claim 16 jobs", "renew 16 leases", "finish 16 jobs"] {
        let turn = tokio::sync::Mutex::new(Turn::default());
        plans
            .explain(path, async |_| {
                let claim =
                    Claim { worker: "bench", max: BATCH, lease: LEASE, excluded_owners: None };
                let claimed = jobs::claim(app.jobs(), &mut *turn.lock().await, claim).await?;
                let attempts: Vec<_> =
                    claimed.iter().map(|job| (job.lease.job.clone(), job.lease.number)).collect();
                let claimed_plans = plans.take();
                jobs::renew(app.jobs(), &attempts, LEASE).await?;
                let renewed_plans = plans.take();
                let ended: Vec<_> = claimed
                    .into_iter()
                    .map(|job| (job.lease, End::Answered(JobOutcome::failed("nothing"))))
                    .collect();
                jobs::finish(app.jobs(), &ended).await?;
                match path {
                    "claim 16 jobs" => plans.put(claimed_plans),
                    "renew 16 leases" => plans.put(renewed_plans),
                    _ => {}
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}

async fn sign_in(app: &App, plans: &Plans, size: Size) -> anyhow::Result<()> {
    let client = public_client("c17");
    plans
        .explain("sign in, issue a code", async |number| {
            issue(app, &client, &person(number, size)).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("redeem a code", async |number| {
            let issued = issue(app, &client, &person(number, size)).await?;
            plans.take();
            redeem(app, &client, &issued).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("refresh a token", async |number| {
            let issued = issue(app, &client, &person(number, size)).await?;
            let tokens = redeem(app, &client, &issued).await?;
            plans.take();
            let token = tokens.refresh_token.as_ref().map(|token| token.expose().to_owned());
            let rotation = Rotation {
                token: &token.unwrap_or_default(),
                scope: None,
                resource: &[],
                dpop_key: None,
                request: request(),
            };
            refresh::rotate(app.oauth(), &client, rotation).await?;
            Ok(())
        })
        .await
}

async fn sign_ins_in_use(app: &App, plans: &Plans, size: Size) -> anyhow::Result<()> {
    plans
        .explain("find a user", async |number| {
            users::get(app.db(), &person(number, size)).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("check the access of a session", async |number| {
            let authority = Authority {
                user: person(number, size),
                grant: None,
                key: None,
                issued_at: app.clock().now(),
            };
            access::denied(app.db(), &authority).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("list connected apps", async |number| {
            account::connected(app.oauth(), &person(number, size)).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("find revocations", async |_| {
            app.oauth().revoked().poll().await?;
            Ok(())
        })
        .await
}

/// An authorization code, and what redeems it.
struct Issued {
    code: PlainCode,
    verifier: Verifier,
}

/// Signs a person in, who consents to everything.
async fn issue(app: &App, client: &Client, user: &UserId) -> anyhow::Result<Issued> {
    let now = app.clock().now();
    let login = user.as_str().trim_start_matches("dev:").to_owned();
    let sign_in = SignIn { user: user.clone(), login, display_name: None };
    users::upsert(app.db(), now, sign_in).await?;
    let verifier = Verifier::generate();
    let new = NewCode {
        client: client.id.clone(),
        redirect_uri: REDIRECT_URI.to_owned(),
        challenge: Challenge::of(&verifier),
        scope: notes::product().scopes().all(),
        user: user.clone(),
        auth_time: now,
        gate_checked_at: Some(now),
        dpop_key: None,
        request: request(),
    };
    let code = code::issue(app.oauth(), new).await?;
    Ok(Issued { code, verifier })
}

async fn redeem(app: &App, client: &Client, issued: &Issued) -> anyhow::Result<TokenSet> {
    let redemption = Redemption {
        code: issued.code.expose(),
        verifier: issued.verifier.expose(),
        redirect_uri: Some(REDIRECT_URI),
        resource: &[],
        dpop_key: None,
        request: request(),
    };
    Ok(code::redeem(app.oauth(), client, redemption).await?)
}
