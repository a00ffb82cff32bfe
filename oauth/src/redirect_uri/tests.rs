use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<RedirectUri, RedirectUriError> {
    RedirectUri::parse(text, &Schemes::default())
}

#[test]
fn uris_of_known_clients_are_accepted() {
    for good in [
        "https://claude.ai/api/mcp/auth_callback",
        "https://chatgpt.com/connector_platform_oauth_redirect",
        "https://vscode.dev/redirect",
        "https://app.example.com:8443/cb?tenant=1",
        "https://example.com",
        "https://Example.com/cb",
        "https://192.0.2.7/cb",
        "https://me.github.io/cb",
        "https://localhost/cb",
        "http://localhost/callback",
        "http://localhost:33418",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
        "http://127.0.0.5:1/cb",
        "http://[::1]:1/cb",
        "cursor://anysphere.cursor-mcp/oauth/user-notes/callback",
        "vscode://vscode.github-authentication/did-authenticate",
        "vscode-insiders://x/y",
        "claude://oauth",
        "claude:/oauth",
        "antigravity://google.antigravity/oauth",
        "code-oss://vscode.github-authentication/did-authenticate",
        "com.raycast:/oauth?package_name=Extension",
        "jetbrains://idea/mcp/oauth",
        "kiro://kiro.kiroAgent/mcp/callback",
        "lmstudio://oauth/callback",
        "raycast://oauth?package_name=Extension",
        "trae://trae.ai-ide/callback",
        "vscodium://vscode.github-authentication/did-authenticate",
        "warp://mcp/oauth2callback",
        "windsurf://codeium.windsurf/callback",
        "zed://mcp/oauth/callback",
    ] {
        assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
    }
}

#[test]
fn unsafe_uris_are_refused() {
    use RedirectUriError as E;
    for (bad, error) in [
        ("", E::NotAbsolute),
        ("/cb", E::NotAbsolute),
        ("example.com/cb", E::NotAbsolute),
        ("//example.com/cb", E::NotAbsolute),
        ("https:example.com", E::NotAbsolute),
        ("https:/example.com/cb", E::NotAbsolute),
        ("https:///cb", E::Host),
        ("cursor://host:th/cb", E::Host),
        ("cursor://ho[st/cb", E::Host),
        ("https://", E::Host),
        ("https://example.com/#", E::Fragment),
        ("https://example.com/#frag", E::Fragment),
        ("https://*.example.com/cb", E::Wildcard),
        ("https://example.com/*", E::Wildcard),
        (" https://example.com/cb", E::Characters),
        ("https://example.com/cb\n", E::Characters),
        ("https://exam\tple.com/cb", E::Characters),
        ("https://example.com/\0", E::Characters),
        ("\u{1}javascript:alert(1)", E::Characters),
        ("https:\\\\example.com\\cb", E::Characters),
        ("https://example.com/%", E::Characters),
        ("https://example.com/%zz", E::Characters),
        ("https://exämple.com/cb", E::Characters),
        ("https://good.example@evil.example/cb", E::UserInfo),
        ("https://good.example:pw@evil.example/cb", E::UserInfo),
        ("https://example.com/a/../cb", E::DotSegments),
        ("https://example.com/./cb", E::DotSegments),
        ("https://example.com/a/%2e%2E/cb", E::DotSegments),
        ("https://example.com/a/.%2e", E::DotSegments),
        ("http://example.com/cb", E::NotLoopback),
        ("http://192.168.1.5/cb", E::NotLoopback),
        ("http://0.0.0.0/cb", E::NotLoopback),
        ("http://localhost.evil.com/cb", E::NotLoopback),
        ("http://localhost./cb", E::NotLoopback),
        ("http://127.0.0.1.evil.com/cb", E::NotLoopback),
        ("http://127.1/cb", E::NotLoopback),
        ("http://0x7f000001/cb", E::NotLoopback),
        ("http://localhost:0/cb", E::Host),
        ("http://localhost:99999/cb", E::Host),
        ("http://localhost:80x/cb", E::Host),
        ("http://[::ffff:127.0.0.1]/cb", E::NotLoopback),
        ("https://com/cb", E::Host),
        ("https://co.uk/cb", E::Host),
        ("https://github.io/cb", E::Host),
        ("https://example.com./cb", E::Host),
        ("https://example..com/cb", E::Host),
        ("https://0x7f.1/cb", E::Host),
        ("https://2130706433/cb", E::Host),
        ("https://exa%6dple.com/cb", E::Host),
        ("javascript:alert(1)", E::NotAbsolute),
        ("javascript://example.com/%0aalert(1)", E::Scheme),
        ("JaVaScRiPt://x/y", E::Scheme),
        ("HTTPS://example.com/cb", E::Scheme),
        ("data:text/html,x", E::NotAbsolute),
        ("data://x/y", E::Scheme),
        ("vbscript:/x", E::Scheme),
        ("file:///etc/passwd", E::Scheme),
        ("blob:/x", E::Scheme),
        ("about:blank", E::NotAbsolute),
        ("view-source://x", E::Scheme),
        ("ws://localhost/cb", E::Scheme),
        ("wss://example.com/cb", E::Scheme),
        ("ftp://example.com/cb", E::Scheme),
        ("mailto:/me", E::Scheme),
        ("tel:/1", E::Scheme),
        ("myapp://cb", E::Scheme),
        ("com.example.app:/cb", E::Scheme),
        ("cursor:", E::NotAbsolute),
        ("cursor://", E::NotAbsolute),
        ("cursor:/", E::NotAbsolute),
        ("https://example.com/cb?code=1", E::ResponseParameter),
        ("https://example.com/cb?a=1&state=", E::ResponseParameter),
        ("https://example.com/cb?%69ss=x", E::ResponseParameter),
        ("cursor://x/cb?error=x", E::ResponseParameter),
    ] {
        assert_eq!(parse(bad), Err(error), "{bad:?}");
    }
    let long = format!("https://example.com/{}", "a".repeat(MAX_BYTES - 19));
    assert_eq!(long.len(), MAX_BYTES + 1);
    assert_eq!(parse(&long), Err(E::TooLong));
    assert!(parse(&long[..MAX_BYTES]).is_ok());
}

#[test]
fn known_schemes_are_schemes_that_could_be_configured() {
    let all = Schemes::with(KNOWN_SCHEMES.map(str::to_owned)).unwrap();
    assert_eq!(all, Schemes::default());
    assert!(KNOWN_SCHEMES.is_sorted_by(|one, next| one < next));
}

#[test]
fn schemes_can_be_added_unless_they_are_never_private() {
    let schemes = Schemes::with(["com.example.app".to_owned()]).unwrap();
    assert!(RedirectUri::parse("com.example.app:/cb", &schemes).is_ok());
    assert!(RedirectUri::parse("cursor://x/cb", &schemes).is_ok());
    for bad in NEVER_PRIVATE.into_iter().chain(["", "1app", "My", "a b", "a:"]) {
        assert_eq!(Schemes::with([bad.to_owned()]), Err(bad.to_owned()), "{bad}");
    }
}

#[test]
fn a_requested_uri_must_equal_the_registered_one() {
    let registered = parse("https://example.com/cb").unwrap();
    assert!(registered.matches("https://example.com/cb"));
    for other in [
        "https://example.com/cb/",
        "https://example.com/",
        "https://example.com",
        "https://Example.com/cb",
        "HTTPS://example.com/cb",
        "https://example.com:443/cb",
        "https://example.com/cb?",
        "https://example.com/cb?a=1",
        "https://example.com/cb#",
        "https://example.com/%63b",
        "https://example.com/./cb",
        "https://example.com/a/../cb",
        " https://example.com/cb",
        "https://example.com/cb\t",
        "https://user@example.com/cb",
        "https://xn--exmple-cua.com/cb",
        "http://example.com/cb",
        "",
    ] {
        assert!(!registered.matches(other), "{other:?}");
    }
}

#[test]
fn on_loopback_the_port_does_not_matter() {
    for (registered, presented) in [
        ("http://localhost/callback", "http://localhost:53111/callback"),
        ("http://localhost:1/callback", "http://localhost/callback"),
        ("http://127.0.0.1/", "http://127.0.0.1:54321/"),
        ("http://127.0.0.1:33418/", "http://127.0.0.1:54321"),
        ("http://127.0.0.1:33418", "http://127.0.0.1:1/"),
        ("http://127.0.0.5:1/cb", "http://127.0.0.5:2/cb"),
        ("http://[::1]:1/cb", "http://[::1]/cb"),
        ("http://localhost/cb?a=1", "http://localhost:9/cb?a=1"),
    ] {
        assert!(parse(registered).unwrap().matches(presented), "{registered} {presented}");
    }
    for (registered, presented) in [
        ("http://localhost/cb", "http://localhost:1/other"),
        ("http://localhost/cb", "http://localhost:1/cb?a=1"),
        ("http://localhost/cb", "http://localhost:1/cb?"),
        ("http://localhost/cb", "http://localhost:1/cb#"),
        ("http://localhost/cb", "http://localhost:1/cb/"),
        ("http://localhost/cb", "http://localhost:1/%63b"),
        ("http://localhost/cb", "https://localhost:1/cb"),
        ("http://localhost/cb", "http://127.0.0.1:1/cb"),
        ("http://127.0.0.1/cb", "http://localhost:1/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.2:1/cb"),
        ("http://127.0.0.1/cb", "http://[::1]:1/cb"),
        ("http://localhost/cb", "http://LOCALHOST:1/cb"),
        ("http://localhost/cb", "http://localhost.:1/cb"),
        ("http://localhost/cb", "http://localhost.evil.com/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1.evil.com/cb"),
        ("http://127.0.0.1/cb", "http://127.1:1/cb"),
        ("http://localhost/cb", "http://me@localhost:1/cb"),
        ("http://localhost/cb", "http://localhost:@evil.com/cb"),
        ("http://localhost/cb", "http://localhost:1@evil.com/cb"),
        ("http://localhost/cb", "http://localhost:/cb"),
        ("http://localhost/cb", "http://localhost:0/cb"),
        ("http://localhost/cb", "http://localhost:70000/cb"),
        ("http://localhost/cb", "http://localhost:1/cb\n"),
        ("http://localhost/cb", "http://localhost:1\\cb"),
        ("https://localhost/cb", "https://localhost:1/cb"),
        ("cursor://x/cb", "cursor://x:1/cb"),
    ] {
        assert!(!parse(registered).unwrap().matches(presented), "{registered} {presented:?}");
    }
}

#[test]
fn a_response_is_added_to_the_query() {
    for (uri, expected) in [
        ("https://e.com/cb", "https://e.com/cb?code=a%26b&iss=x"),
        ("https://e.com/cb?", "https://e.com/cb?code=a%26b&iss=x"),
        ("https://e.com/cb?t=1", "https://e.com/cb?t=1&code=a%26b&iss=x"),
        ("cursor://x/cb?t=1&", "cursor://x/cb?t=1&code=a%26b&iss=x"),
    ] {
        assert_eq!(with_response(uri, [("code", "a&b"), ("iss", "x")]), expected);
    }
}

#[test]
fn the_destination_is_the_recipient_of_the_response() {
    for (uri, expected) in [
        ("https://claude.ai/cb", Destination::Site { host: "claude.ai".into() }),
        ("https://e.com:8443/cb", Destination::Site { host: "e.com:8443".into() }),
        ("http://localhost:5/cb", Destination::ThisMachine),
        ("http://[::1]/cb", Destination::ThisMachine),
        ("cursor://x/cb", Destination::App { scheme: "cursor".into() }),
    ] {
        assert_eq!(destination(uri), expected, "{uri}");
    }
}

fn path() -> impl Strategy<Value = String> {
    "(/[a-z0-9._~-]{0,5}){0,3}(\\?[a-z=&]{0,8})?"
}

proptest! {
    #[test]
    fn a_registered_uri_matches_itself(path in path(), host in "[a-z]{1,8}\\.(com|de)") {
        if let Ok(uri) = parse(&format!("https://{host}{path}")) {
            prop_assert!(uri.matches(uri.as_str()));
            let longer = format!("{uri}x");
            prop_assert!(!uri.matches(&longer));
        }
    }

    #[test]
    fn only_the_port_is_ever_ignored(
        path in path(), other in path(), one in 1..=u16::MAX, two in 1..=u16::MAX,
    ) {
        if let Ok(uri) = parse(&format!("http://127.0.0.1:{one}{path}")) {
            let same = format!("http://127.0.0.1:{two}{path}");
            prop_assert!(uri.matches(&same));
            let presented = format!("http://127.0.0.1:{two}{other}");
            let slash = |it: &str| match it.strip_prefix('/') {
                Some(rest) => format!("/{rest}"),
                None => format!("/{it}"),
            };
            prop_assert_eq!(uri.matches(&presented), slash(&path) == slash(&other));
        }
    }

    #[test]
    fn a_match_leads_to_the_registered_host(
        registered in "(https?|cursor)://[a-z0-9.@:\\[\\]%/?#*-]{1,24}",
        presented in "\\PC{0,40}",
    ) {
        if let Ok(uri) = parse(&registered)
            && uri.matches(&presented)
        {
            let host = |it: &str| Url::parse(it).unwrap().host_str().map(str::to_owned);
            prop_assert_eq!(host(uri.as_str()), host(&presented));
        }
    }

    #[test]
    fn the_parser_does_not_change_an_accepted_uri(text in "(https|http)://[ -~]{0,30}") {
        if let Ok(uri) = parse(&text) {
            let url = Url::parse(uri.as_str()).unwrap();
            prop_assert!(url.username().is_empty() && url.password().is_none());
            prop_assert!(url.fragment().is_none());
            let authority = uri.as_str().split('/').nth(2).unwrap();
            let authority = authority.split('?').next().unwrap().to_ascii_lowercase();
            prop_assert!(authority.starts_with(url.host_str().unwrap()));
        }
    }

    #[test]
    fn a_response_can_be_parsed_back(query in "(\\?[a-z0-9=&]{0,10})?", value in "\\PC{0,20}") {
        let uri = with_response(&format!("https://e.com/cb{query}"), [("state", value.as_str())]);
        let url = Url::parse(&uri).unwrap();
        let (name, read) = url.query_pairs().last().unwrap();
        prop_assert_eq!((&*name, &*read), ("state", value.as_str()));
    }
}
