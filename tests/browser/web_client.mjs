// A client that is a web page itself, such as MCP Inspector: whatever it asks, a browser asks first
// whether a page of another origin may.
import assert from 'node:assert/strict';
import { startByTheReadme, startServer } from '../program.mjs';
import { App } from './app.mjs';
import { look } from './looks.mjs';

// Where the browser finds the server; see run.mjs.
export const HOST = 'notes.example';

// Runs in the page: from the refusal of /mcp to a registered client.
async function discover({ url, redirectUri }) {
    const refused = await fetch(url, { method: 'POST', body: '{}' });
    const [, metadata] = /resource_metadata="([^"]+)"/.exec(refused.headers.get('www-authenticate'));
    const resource = await (await fetch(metadata)).json();
    const [issuer] = resource.authorization_servers;
    const server = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json();
    const registered = await fetch(server.registration_endpoint, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ client_name: 'Web Page', redirect_uris: [redirectUri] }),
    });
    return { server, client: await registered.json() };
}

// Runs in the page: from a code to an MCP session.
async function connect({ url, tokenEndpoint, form }) {
    const answered = await fetch(tokenEndpoint, {
        method: 'POST',
        body: new URLSearchParams(form),
    });
    const { access_token: token } = await answered.json();
    const initialize = await fetch(url, {
        method: 'POST',
        headers: {
            authorization: `Bearer ${token}`,
            accept: 'application/json, text/event-stream',
            'content-type': 'application/json',
        },
        body: JSON.stringify({
            jsonrpc: '2.0',
            id: 1,
            method: 'initialize',
            params: {
                protocolVersion: '2025-11-25',
                capabilities: {},
                clientInfo: { name: 'web page', version: '1' },
            },
        }),
    });
    return [initialize.status, initialize.headers.get('mcp-session-id')];
}

// Connects a page of another origin to a server that is started for it. The person does `steps` in
// the window that the page has opened.
async function connects(start, context, steps) {
    const app = await App.listen();
    const server = await start({ ALLOWED_ORIGINS: app.origin });
    try {
        const url = `${server.origin}/mcp`;
        const page = await context.newPage();
        await page.goto(app.origin);
        const { redirectUri } = app;
        const found = await page.evaluate(discover, { url, redirectUri });
        app.knows(server.origin, found.client.client_id);

        const begun = app.begin();
        const opened = page.waitForEvent('popup');
        await page.evaluate((address) => void open(address, '', 'popup'), begun.url);
        const popup = await opened;
        await steps(popup, server.origin);
        await popup.waitForURL((it) => it.pathname === '/callback');

        const tokenEndpoint = found.server.token_endpoint;
        const form = app.redemption(begun);
        const [status, session] = await page.evaluate(connect, { url, tokenEndpoint, form });
        assert.equal(status, 200);
        assert.ok(session, 'the page can read the id of its session');
    } finally {
        app.close();
        await server.stop(true);
    }
}

export const webClient = {
    async 'a client in a web page connects, if its origin may'({ person }) {
        await connects(startServer, await person('nobody'), async (popup) => {
            await popup.getByRole('button', { name: 'Approve' }).click();
            await popup.getByRole('button', { name: 'Continue' }).click();
        });
    },

    async 'a client in a web page connects over https, with GitHub'({ person }) {
        const start = (settings) => startByTheReadme({ host: HOST, settings });
        const context = await person('ada', { ignoreHTTPSErrors: true });
        await connects(start, context, async (popup, origin) => {
            await popup.getByRole('heading', { name: 'Connect Web Page to your notes?' }).waitFor();
            // The prefix by which a browser guarantees that a cookie is from this very host.
            const [cookie] = await context.cookies(origin);
            assert.match(cookie.name, /^__Host-txn_/);

            const home = await context.newPage();
            await home.goto(origin);
            await home.getByText('Add custom connector').waitFor();
            await look(home, 'home-public');

            await popup.getByRole('button', { name: 'Approve' }).click();
        });
    },
};
