// What a client does that knows nothing but an address, told once for both TypeScript SDKs: it is
// sent away, finds out where to register, registers, sends a person to a browser, redeems the code,
// uses the notes, and later gets new tokens without the person.
import assert from 'node:assert/strict';
import { signIn } from '../person.mjs';

const ok = (step) => console.log(`ok ${step}`);

// Nobody listens there: the person hands the address over.
const REDIRECT_URI = 'http://127.0.0.1:33418/callback';

// Keeps in memory what a client keeps in its settings.
export class Memory {
    redirectUrl = REDIRECT_URI;
    clientMetadata = {
        client_name: 'Interop',
        redirect_uris: [REDIRECT_URI],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
    };
    kept = {};

    state = () => (this.kept.state = crypto.randomUUID());
    clientInformation = () => this.kept.client;
    saveClientInformation = (client) => (this.kept.client = client);
    tokens = () => this.kept.tokens;
    saveTokens = (tokens) => (this.kept.tokens = tokens);
    codeVerifier = () => this.kept.verifier;
    saveCodeVerifier = (verifier) => (this.kept.verifier = verifier);
    saveDiscoveryState = (discovery) => (this.kept.discovery = discovery);
    discoveryState = () => this.kept.discovery;
    redirectToAuthorization = (url) => {
        this.kept.authorization = url.href;
        ok('discovers');
    };
}

// `connect` gives a connected client, `finish` a transport the answer that came to the client.
export async function tellSignIn({ memory, connect, UnauthorizedError, finish }) {
    await assert.rejects(connect(), UnauthorizedError);
    assert.ok(memory.kept.client.client_id, 'the client is registered');
    ok('registers');

    const back = new URL(await signIn(memory.kept.authorization, process.env.PERSON));
    assert.equal(back.searchParams.get('state'), memory.kept.state);
    assert.equal(back.searchParams.get('iss'), new URL(process.env.MCP_URL).origin);
    await finish(back.searchParams);
    assert.ok(memory.kept.tokens.refresh_token, 'there is a refresh token');
    ok('connects');

    let client = await connect();
    const { tools } = await client.listTools();
    assert.ok(tools.some((tool) => tool.name === 'notes_create'));
    ok('lists');
    const call = async (name, args) => {
        const result = await client.callTool({ name, arguments: args });
        assert.ok(!result.isError, JSON.stringify(result.content));
        return result.structuredContent;
    };
    const note = await call('notes_create', { title: 'Groceries', body: 'Milk' });
    ok('creates');

    // As if half an hour had passed: the server refuses the access token, and nobody is asked.
    const before = memory.kept.tokens;
    memory.kept.tokens = { ...before, access_token: 'expired' };
    memory.kept.authorization = undefined;
    assert.equal((await call('notes_get', { id: note.id })).body, 'Milk');
    assert.notEqual(memory.kept.tokens.refresh_token, before.refresh_token, 'it was rotated');
    assert.equal(memory.kept.authorization, undefined, 'nobody was asked');
    ok('refreshes');
    await client.close();

    client = await connect();
    assert.equal((await call('notes_get', { id: note.id })).title, 'Groceries');
    ok('returns');
    await client.close();
}
