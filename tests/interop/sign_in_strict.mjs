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

// Sends a tool call with an access token; throws with the challenges if that is refused.
function use(accessToken, name = 'notes_list', args = {}) {
    const _meta = {
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientInfo': { name: 'interop', version: '1.0.0' },
        'io.modelcontextprotocol/clientCapabilities': {},
    };
    const params = { name, arguments: args, _meta };
    const headers = new Headers({
        accept: 'application/json, text/event-stream',
        'content-type': 'application/json',
        'mcp-protocol-version': '2026-07-28',
        'mcp-method': 'tools/call',
        'mcp-name': name,
    });
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params });
    return oauth.protectedResourceRequest(accessToken, 'POST', resource, headers, body, plain);
}

async function challenge(status, ...call) {
    const error = await use(...call).then(() => assert.fail('it was let in'), (it) => it);
    assert.ok(error instanceof oauth.WWWAuthenticateChallengeError, error);
    assert.equal(error.status, status);
    assert.equal(error.cause[0].scheme, 'bearer');
    return error.cause[0].parameters;
}

const { resource_metadata: metadataUrl, scope } = await challenge(401, 'nonsense');
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

const authentication = oauth.None();

// Sends the person to a browser for these scopes, and gets tokens for the code that comes back.
async function authorize(scope) {
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
    const more = { ...plain, additionalParameters: { resource: protectedResource.resource } };
    const response = await oauth.authorizationCodeGrantRequest(
        ...[as, client, authentication, answer, redirectUri, verifier, more],
    );
    return oauth.processAuthorizationCodeResponse(as, client, response);
}

const note = { title: 'Groceries', body: 'Milk' };
const reader = await authorize('notes:read');
assert.equal((await use(reader.access_token)).status, 200);
ok('connects');

const more = await challenge(403, reader.access_token, 'notes_create', note);
assert.equal(more.error, 'insufficient_scope');
const tokens = await authorize(more.scope);
assert.equal((await use(tokens.access_token, 'notes_create', note)).status, 200);
assert.deepEqual(new Set(more.scope.split(' ')), new Set(scope.split(' ')), 'all there is');
ok('upgrades');

const claims = await oauth.validateJwtAccessToken(
    as,
    new Request(resource, { headers: { authorization: `Bearer ${tokens.access_token}` } }),
    protectedResource.resource,
    plain,
);
assert.equal(claims.client_id, client.client_id);
assert.ok(claims.sub);
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
const deadline = Date.now() + 60_000;
let refused;
while (!refused && Date.now() < deadline) {
    refused = await use(renewed.access_token).then(() => undefined, (it) => it);
}
assert.equal(refused?.cause[0].parameters.error, 'invalid_token');
ok('revokes');
