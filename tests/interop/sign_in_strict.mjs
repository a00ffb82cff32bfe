// oauth4webapi, which does not let a server get away with anything: every document and answer of a
// sign-in, the access token itself (RFC 9068), and what is left after a revocation.
import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';
import { signIn } from '../person.mjs';

const ok = (step) => console.log(`ok ${step}`);
// The server is on loopback.
const plain = { [oauth.allowInsecureRequests]: true };
const resource = new URL(process.env.MCP_URL);
const redirectUri = 'http://127.0.0.1:33418/callback';

const initialize = {
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: {
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: { name: 'interop', version: '1.0.0' },
    },
};

// Sends something with an access token; throws with the challenges if that is refused.
function use(accessToken) {
    const headers = new Headers({
        accept: 'application/json, text/event-stream',
        'content-type': 'application/json',
    });
    const body = JSON.stringify(initialize);
    return oauth.protectedResourceRequest(accessToken, 'POST', resource, headers, body, plain);
}

async function challenge(accessToken) {
    const error = await use(accessToken).then(() => assert.fail('it was let in'), (it) => it);
    assert.ok(error instanceof oauth.WWWAuthenticateChallengeError, error);
    assert.equal(error.status, 401);
    assert.equal(error.cause[0].scheme, 'bearer');
    return error.cause[0].parameters;
}

const { resource_metadata: metadataUrl, scope } = await challenge('nonsense');
const protectedResource = await oauth.processResourceDiscoveryResponse(
    resource,
    await oauth.resourceDiscoveryRequest(resource, plain),
);
assert.deepEqual(await (await fetch(metadataUrl)).json(), protectedResource);
const issuer = new URL(protectedResource.authorization_servers[0]);
const as = await oauth.processDiscoveryResponse(
    issuer,
    await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...plain }),
);
assert.equal(as.authorization_response_iss_parameter_supported, true);
assert.deepEqual(as.code_challenge_methods_supported, ['S256']);
ok('discovers');

const client = await oauth.processDynamicClientRegistrationResponse(
    await oauth.dynamicClientRegistrationRequest(
        as,
        { client_name: 'Interop', redirect_uris: [redirectUri], token_endpoint_auth_method: 'none' },
        plain,
    ),
);
ok('registers');

const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const url = new URL(as.authorization_endpoint);
url.search = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: redirectUri,
    response_type: 'code',
    scope,
    state,
    resource: protectedResource.resource,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
});
const back = new URL(await signIn(url.href, process.env.PERSON));
const answer = oauth.validateAuthResponse(as, client, back, state);
const authentication = oauth.None();
const tokens = await oauth.processAuthorizationCodeResponse(
    as,
    client,
    await oauth.authorizationCodeGrantRequest(
        as,
        client,
        authentication,
        answer,
        redirectUri,
        verifier,
        { ...plain, additionalParameters: { resource: protectedResource.resource } },
    ),
);
assert.equal((await use(tokens.access_token)).status, 200);
ok('connects');

const claims = await oauth.validateJwtAccessToken(
    as,
    new Request(resource, { headers: { authorization: `Bearer ${tokens.access_token}` } }),
    protectedResource.resource,
    plain,
);
assert.equal(claims.client_id, client.client_id);
assert.ok(!('sub' in protectedResource) && claims.sub);
ok('verifies');

const refresh = async (token) =>
    oauth.processRefreshTokenResponse(
        as,
        client,
        await oauth.refreshTokenGrantRequest(as, client, authentication, token, plain),
    );
const renewed = await refresh(tokens.refresh_token);
assert.notEqual(renewed.refresh_token, tokens.refresh_token);
assert.equal((await use(renewed.access_token)).status, 200);
ok('refreshes');

await oauth.processRevocationResponse(
    await oauth.revocationRequest(as, client, authentication, renewed.refresh_token, plain),
);
await assert.rejects(refresh(renewed.refresh_token), { error: 'invalid_grant' });
// Another instance may hear of it a moment later; it is bound to.
const deadline = Date.now() + 10_000;
let refused;
while (!refused && Date.now() < deadline) {
    refused = await use(renewed.access_token).then(() => undefined, (it) => it);
}
assert.equal(refused?.cause[0].parameters.error, 'invalid_token');
ok('revokes');
