//! An office, or a cloud, shares one address, and a page of another site shares a person's browser:
//! whatever these send, what is valid does not wait behind it. On two instances.

use futures_util::future::join_all;
use oauth::{
    limits::{CONSENT, REFRESH, TOKEN_FAILURES},
    token_format::PlainToken,
};
use reqwest::Method;
use tests::{
    browser::{ClientApp, encode, form, owned, visitor},
    client::Page,
};

use super::{Stage, text, told};

/// A form to an endpoint for programs, from a network.
async fn send(
    stage: &Stage,
    turn: usize,
    network: &str,
    path: &str,
    form: &[(String, String)],
) -> Page {
    let web = [stage.one(), stage.other()][turn % 2];
    let request = web
        .request(Method::POST, path)
        .header("x-forwarded-for", network)
        .header("content-type", "application/x-www-form-urlencoded");
    Page::read(request.body(encode(form))).await
}

/// What somebody sends who has nothing valid, with the id of a client that others use.
fn guesses(client_app: &ClientApp) -> Vec<(&'static str, Vec<(String, String)>)> {
    let made_up = PlainToken::generate().expose().to_owned();
    let stranger = owned(&[
        ("grant_type", "refresh_token"),
        ("client_id", "mcl_unknown"),
        ("refresh_token", "mrt_unknown"),
    ]);
    let code = owned(&[
        ("grant_type", "authorization_code"),
        ("client_id", &client_app.id),
        ("code", "mac_unknown"),
        ("code_verifier", &"v".repeat(43)),
    ]);
    vec![
        ("/token", stranger.clone()),
        ("/token", client_app.refreshing("mrt_unknown")),
        ("/token", client_app.refreshing(&made_up)),
        ("/token", code),
        ("/revoke", stranger),
        ("/revoke", owned(&[("client_id", &client_app.id), ("token", &made_up)])),
    ]
}

#[tokio::test]
async fn guesses_of_a_network_keep_no_valid_token_waiting() {
    let stage = Stage::new().await;
    let (client_app, network) = (stage.client_app().await, visitor());
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let connected = client_app.connect(&stage.browser()).await;
        tokens.push(text(&connected, "refresh_token"));
    }
    let code = client_app.code(&stage.browser()).await;
    let mut refused = 0;
    for round in 0..15 {
        for (turn, (path, form)) in guesses(&client_app).iter().enumerate() {
            let page = send(&stage, round + turn, &network, path, form).await;
            if page.status == 429 {
                assert_ne!(page.header("retry-after"), "", "{path}");
                refused += 1;
            }
        }
        // Of fifteen refreshes by people in the same network, every one succeeds.
        let token = &mut tokens[round % 3];
        let page = send(&stage, round, &network, "/token", &client_app.refreshing(token)).await;
        assert_eq!(page.status, 200, "refresh {round}: {}", page.text());
        *token = text(&page.json(), "refresh_token");
    }
    let guessed = 15 * guesses(&client_app).len();
    let allowed = usize::try_from(TOKEN_FAILURES.limit).unwrap();
    assert!(refused >= guessed - 2 * allowed, "of {guessed} guesses {refused} were refused");

    let redeeming = owned(&[
        ("grant_type", "authorization_code"),
        ("client_id", &client_app.id),
        ("code", &code.code),
        ("code_verifier", &code.verifier),
        ("redirect_uri", &client_app.redirect_uri),
    ]);
    let page = send(&stage, 1, &network, "/token", &redeeming).await;
    assert_eq!(page.status, 200, "a code: {}", page.text());
    let revoking = owned(&[("client_id", &client_app.id), ("token", &tokens[0])]);
    assert_eq!(send(&stage, 0, &network, "/revoke", &revoking).await.status, 200);
    let page = client_app.refresh(stage.other(), &tokens[0]).await;
    told("it was revoked", &page, 400, "invalid_grant");
}

#[tokio::test]
async fn a_grant_that_is_refreshed_without_end_uses_up_its_own_share_only() {
    let stage = Stage::new().await;
    let (client_app, network) = (stage.client_app().await, visitor());
    let other = text(&client_app.connect(&stage.browser()).await, "refresh_token");
    let token = text(&client_app.connect(&stage.browser()).await, "refresh_token");
    // Many processes that share the token, all at once.
    let refreshing = client_app.refreshing(&token);
    let mut served = 0;
    let refused = loop {
        let pages = (0..64).map(|turn| send(&stage, turn, &network, "/token", &refreshing));
        let (good, other): (Vec<_>, Vec<_>) =
            join_all(pages).await.into_iter().partition(|it| it.status == 200);
        served += good.len();
        if let Some(refused) = other.into_iter().next() {
            break refused;
        }
    };
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_ne!(refused.header("retry-after"), "");
    assert!(served >= usize::try_from(REFRESH.limit).unwrap(), "{served}");
    let page = send(&stage, 0, &network, "/token", &client_app.refreshing(&other)).await;
    assert_eq!(page.status, 200, "another grant of the same client and network: {}", page.text());
    stage.pass(60);
    let page = send(&stage, 0, &network, "/token", &refreshing).await;
    assert_eq!(page.status, 200, "nothing was lost: {}", page.text());
}

/// What a browser says about a request that a page of another site makes: with an image, in a frame, by a
/// script, and by opening it.
const OF_OTHER_SITES: [(&str, &str, bool); 4] = [
    ("no-cors", "image", false),
    ("navigate", "iframe", false),
    ("cors", "empty", false),
    ("navigate", "document", true),
];

#[tokio::test]
async fn a_page_of_another_site_keeps_nobody_from_signing_in() {
    let stage = Stage::new().await;
    let (client_app, network) = (stage.client_app().await, visitor());
    let asked = client_app.asks();
    let pages =
        [&*asked.path(), "/consent?txn=x", "/oauth/github/callback?code=a&state=b", "/account"]
            .map(str::to_owned);
    for (mode, destination, opens) in OF_OTHER_SITES {
        for turn in 0..40 {
            for path in &pages {
                let web = [stage.one(), stage.other()][turn % 2];
                let request = web
                    .request(Method::GET, path)
                    .header("x-forwarded-for", &network)
                    .header("sec-fetch-site", "cross-site")
                    .header("sec-fetch-mode", mode)
                    .header("sec-fetch-dest", destination);
                let page = Page::read(request).await;
                if !opens {
                    assert_eq!(page.status, 403, "{destination} {path}: {}", page.text());
                    assert_eq!(page.headers.get_all("set-cookie").iter().count(), 0, "{path}");
                }
            }
        }
    }
    // The person behind the same address signs in by a link that they have typed or copied.
    let browser = stage.browser();
    let own = async |path: &str| {
        let request = browser.request(Method::GET, path).header("x-forwarded-for", &network);
        let request = request
            .header("sec-fetch-site", "none")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document");
        browser.read(request).await
    };
    let begun = own(&asked.path()).await;
    assert_eq!(begun.status, 303, "{}", begun.text());
    let page = own(begun.header("location")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let next = browser.approve(&form(&page)).await;
    let callback = browser.at_github(&next).await;
    // From GitHub, which is another site as well.
    let request = browser.request(Method::GET, &callback).header("x-forwarded-for", &network);
    let request = request
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document");
    let back = browser.read(request).await;
    assert_eq!(back.status, 303, "{}", back.text());
    asked.code(&back);
    assert_eq!(own("/account").await.status, 200);
}

#[tokio::test]
async fn made_up_cookies_count_for_the_network_and_not_for_who_has_real_ones() {
    let stage = Stage::new().await;
    let (client_app, network) = (stage.client_app().await, visitor());
    let (browser, signed_in) = (stage.browser(), stage.browser());
    assert_eq!(signed_in.account().await.status, 200);
    let begun = browser.get(&client_app.asks().path()).await;
    let consent = begun.header("location").to_owned();
    let txn = consent.split_once('=').unwrap().1;
    let mut refused = 0;
    for number in 0..2 * CONSENT.limit {
        // The right transaction, as somebody knows it who has seen the address, in another browser.
        let cookie = format!("session=made-up-{number}; txn_0000000{}=made-up", number % 8);
        for path in [&*consent, "/account"] {
            let web = [stage.one(), stage.other()][usize::try_from(number % 2).unwrap()];
            let request = web.request(Method::GET, path);
            let request = request.header("x-forwarded-for", &network).header("cookie", &cookie);
            refused += usize::from(Page::read(request).await.status == 429);
        }
    }
    assert!(refused > 0, "made-up cookies are no way around the limit");
    for path in [&*consent, "/account"] {
        let whose = if path == "/account" { &signed_in } else { &browser };
        let request = whose.request(Method::GET, path).header("x-forwarded-for", &network);
        let page = whose.read(request).await;
        assert_eq!(page.status, 200, "{path} with a real cookie, {txn}: {}", page.text());
    }
}
