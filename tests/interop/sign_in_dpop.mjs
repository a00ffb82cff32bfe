// oauth4webapi with DPoP, at a server that requires it: tokens that are bound to a key, nonces, a code that
// is bound by dpop_jkt, a refresh with the same key, and what is refused.
import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';
import { signIn } from '../person.mjs';

const ok = (step) => console.log(`ok ${step}`);
// The server is on loopback.
const plain = { [oauth.allowInsecureRequests]: true };
const resource = new URL(process.env.MCP_URL);
const redirectUri = 'http://127.0.0.1:33418/callback';

const protectedResource = await oauth.processResourceDiscoveryResponse(
    resource,
    await oauth.resourceDiscoveryRequest(resource, plain),
);
assert.equal(protectedResource.dpop_bound_access_tokens_required, true);
const issuer = new URL(protectedResource.authorization_servers[0]);
const as = await oauth.processDiscoveryResponse(
    issuer,
    await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...plain }),
);
assert.ok(as.dpop_signing_alg_values_supported.includes('ES256'));
ok('discovers');

const client = await oauth.processDynamicClientRegistrationResponse(
    await oauth.dynamicClientRegistrationRequest(
        as,
        {
            client_name: 'Interop',
            redirect_uris: [redirectUri],
            token_endpoint_auth_method: 'none',
            dpop_bound_access_tokens: true,
        },
        plain,
    ),
);
assert.equal(client.dpop_bound_access_tokens, true);
ok('registers');

const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'));

let nonces = 0;

// Does what oauth4webapi leaves to its users: repeats a request with the nonce of the response.
async function withNonce(request) {
    try {
        return await request();
    } catch (error) {
        assert.ok(oauth.isDPoPNonceError(error), error);
        nonces += 1;
        return request();
    }
}

const use = (accessToken, options = { DPoP }) =>
    oauth.protectedResourceRequest(
        accessToken,
        'POST',
        resource,
        new Headers({
            accept: 'application/json, text/event-stream',
            'content-type': 'application/json',
            'mcp-protocol-version': '2026-07-28',
            'mcp-method': 'tools/call',
            'mcp-name': 'notes_list',
        }),
        JSON.stringify({
            jsonrpc: '2.0',
            id: 1,
            method: 'tools/call',
            params: {
                name: 'notes_list',
                arguments: {},
                _meta: {
                    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
                    'io.modelcontextprotocol/clientInfo': { name: 'interop', version: '1.0.0' },
                    'io.modelcontextprotocol/clientCapabilities': {},
                },
            },
        }),
        { ...plain, ...options },
    );

const authentication = oauth.None();
const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const url = new URL(as.authorization_endpoint);
url.search = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: redirectUri,
    response_type: 'code',
    scope: protectedResource.scopes_supported.join(' '),
    state,
    resource: protectedResource.resource,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    dpop_jkt: await DPoP.calculateThumbprint(),
});
const back = new URL(await signIn(url.href, process.env.PERSON));
const answer = oauth.validateAuthResponse(as, client, back, state);
const redeem = (options) =>
    oauth.authorizationCodeGrantRequest(
        ...[as, client, authentication, answer, redirectUri, verifier, { ...plain, ...options }],
    );
const without = await redeem({});
await assert.rejects(oauth.processAuthorizationCodeResponse(as, client, without), {
    error: 'invalid_dpop_proof',
});
const tokens = await withNonce(async () =>
    oauth.processAuthorizationCodeResponse(as, client, await redeem({ DPoP })),
);
assert.equal(tokens.token_type, 'dpop');
assert.equal(nonces, 1, 'the server has asked for a nonce');
assert.equal((await withNonce(() => use(tokens.access_token))).status, 200);
assert.equal(nonces, 1, 'the nonce of the token endpoint is good at the other one');
ok('connects');

// The access token and the proof of a request satisfy a resource server that checks strictly.
let sent;
const capture = (url, options) => {
    sent = new Request(url, { method: options.method, headers: options.headers });
    return fetch(url, options);
};
await use(tokens.access_token, { DPoP, [oauth.customFetch]: capture });
const strict = { ...plain, requireDPoP: true };
const { cnf } = await oauth.validateJwtAccessToken(as, sent, protectedResource.resource, strict);
assert.equal(cnf.jkt, await DPoP.calculateThumbprint());
ok('verifies');

for (const options of [{}, { DPoP: oauth.DPoP(client, await oauth.generateKeyPair('ES256')) }]) {
    const refused = await use(tokens.access_token, options).then(
        () => assert.fail('it was let in'),
        (error) => error,
    );
    assert.ok(refused instanceof oauth.WWWAuthenticateChallengeError, refused);
    assert.equal(refused.status, 401);
    assert.equal(refused.cause[0].scheme, 'dpop');
}
ok('refuses');

const renewed = await withNonce(async () =>
    oauth.processRefreshTokenResponse(
        as,
        client,
        await oauth.refreshTokenGrantRequest(
            ...[as, client, authentication, tokens.refresh_token, { ...plain, DPoP }],
        ),
    ),
);
assert.equal(renewed.token_type, 'dpop');
assert.equal((await withNonce(() => use(renewed.access_token))).status, 200);
assert.equal(nonces, 1);
ok('refreshes');
