// A client as a browser meets it: it registers, has an address where it waits for its answer, and a
// page of its own on another origin.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';

export class App {
    answers = new Map();
    // The document at `/`, for tests that need a page of somebody else.
    html = '<!doctype html><title>App</title>';

    // A client that nobody knows yet.
    static async listen(redirectUri) {
        const app = new App();
        app.server = http.createServer((request, response) => app.serve(request, response));
        app.server.listen(0, '127.0.0.1');
        // A test that fails does not close it.
        app.server.unref();
        await once(app.server, 'listening');
        const { port } = app.server.address();
        // Another site than the server, which is at 127.0.0.1.
        app.origin = `http://localhost:${port}`;
        app.redirectUri = redirectUri ?? `http://127.0.0.1:${port}/callback`;
        return app;
    }

    // A client that waits at an address of its own, or at `redirectUri`.
    static async register(origin, { name = 'Example App', redirectUri } = {}) {
        const app = await App.listen(redirectUri);
        const response = await fetch(`${origin}/register`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ client_name: name, redirect_uris: [app.redirectUri] }),
        });
        assert.equal(response.status, 201, await response.clone().text());
        app.knows(origin, (await response.json()).client_id);
        return app;
    }

    knows(issuer, id) {
        this.issuer = issuer;
        this.id = id;
    }

    serve(request, response) {
        const url = new URL(request.url, this.origin);
        response.setHeader('content-type', 'text/html; charset=utf-8');
        if (url.pathname !== '/callback') return response.end(this.html);
        this.answers.set(url.searchParams.get('state'), url.searchParams);
        return response.end(
            '<!doctype html><title>Back in the app</title><script>opener?.postMessage("back", "*")</script>',
        );
    }

    // What the client asks for, and what it has to remember of it.
    begin(changes = {}) {
        const verifier = randomBytes(32).toString('base64url');
        const state = randomBytes(8).toString('hex');
        const url = new URL('/authorize', this.issuer);
        url.search = new URLSearchParams({
            response_type: 'code',
            client_id: this.id,
            redirect_uri: this.redirectUri,
            scope: 'notes:read notes:write',
            state,
            code_challenge: createHash('sha256').update(verifier).digest('base64url'),
            code_challenge_method: 'S256',
            ...changes,
        });
        return { url: url.href, verifier, state };
    }

    // The answer that came back for a request.
    answer({ state }) {
        const answer = this.answers.get(state);
        assert.ok(answer, 'no answer came back');
        assert.equal(answer.get('iss'), this.issuer);
        return answer;
    }

    // The form that redeems the code of that answer.
    redemption(begun) {
        return {
            grant_type: 'authorization_code',
            client_id: this.id,
            code: this.answer(begun).get('code'),
            code_verifier: begun.verifier,
            redirect_uri: this.redirectUri,
        };
    }

    // What the token endpoint answers.
    tokens(begun) {
        return this.askForTokens(this.redemption(begun));
    }

    // The same later, without the person.
    refresh({ refresh_token }) {
        return this.askForTokens({ grant_type: 'refresh_token', client_id: this.id, refresh_token });
    }

    async askForTokens(form) {
        const body = new URLSearchParams(form);
        const response = await fetch(`${this.issuer}/token`, { method: 'POST', body });
        assert.equal(response.status, 200, await response.clone().text());
        return response.json();
    }

    // Gives the access token.
    async redeem(begun) {
        return (await this.tokens(begun)).access_token;
    }

    // Calls a tool with an access token: its result, or the status with which that was refused.
    async call(token, name, args) {
        const meta = {
            'io.modelcontextprotocol/protocolVersion': '2026-07-28',
            'io.modelcontextprotocol/clientInfo': { name: 'browser', version: '1' },
            'io.modelcontextprotocol/clientCapabilities': {},
        };
        const response = await fetch(`${this.issuer}/mcp`, {
            method: 'POST',
            headers: {
                authorization: `Bearer ${token}`,
                accept: 'application/json, text/event-stream',
                'content-type': 'application/json',
                'mcp-protocol-version': '2026-07-28',
                'mcp-method': 'tools/call',
                'mcp-name': name,
            },
            body: JSON.stringify({
                jsonrpc: '2.0',
                id: 1,
                method: 'tools/call',
                params: { name, arguments: args, _meta: meta },
            }),
        });
        if (response.status !== 200) return response.status;
        return (await response.json()).result.structuredContent;
    }

    close() {
        this.server.close();
        this.server.closeAllConnections();
    }
}
