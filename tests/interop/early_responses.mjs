// Sends bodies that no endpoint reads to their end: `fetch` has to get every response, and never a
// reset or EPIPE in its place. Node is strict here: it gives up on the first failed write.
import assert from 'node:assert/strict';

const TRIES = 5;
const MEBIBYTE = 1 << 20;
const { origin } = new URL(process.env.MCP_URL);
const authorization = `Bearer ${process.env.MCP_TOKEN}`;
const json = { 'content-type': 'application/json' };
const form = { 'content-type': 'application/x-www-form-urlencoded' };

const REQUESTS = [
    [413, 'POST', '/mcp', { ...json, authorization }],
    [401, 'POST', '/mcp', json],
    [401, 'POST', '/mcp', { ...json, authorization: 'Bearer nonsense' }],
    [403, 'POST', '/mcp', { ...json, authorization, origin: 'https://evil.example' }],
    [405, 'PUT', '/mcp', { ...json, authorization }],
    [413, 'POST', '/token', form],
    [413, 'POST', '/revoke', form],
    [413, 'POST', '/register', json],
    [403, 'POST', '/consent', form],
    [405, 'POST', '/healthz', json],
    [404, 'POST', '/nothing', json],
];

// A body of which the length is not known before its end.
const streamed = (bytes) => {
    const piece = Buffer.alloc(64 * 1024, ' ');
    let left = bytes / piece.length;
    return new ReadableStream({
        pull(controller) {
            if (left-- > 0) controller.enqueue(piece);
            else controller.close();
        },
    });
};

async function send([expected, method, path, headers], bytes, body) {
    const options = { method, headers, body, duplex: 'half', redirect: 'manual' };
    const what = `${method} ${path} with ${bytes} bytes`;
    try {
        const response = await fetch(origin + path, options);
        const text = await response.text();
        // The share of invalid requests may be used up by the tries before.
        assert.ok([expected, 429].includes(response.status), `${what}: ${response.status} ${text}`);
        assert.ok(text.length > 10, `${what}: no explanation`);
    } catch (error) {
        assert.fail(`${what}: ${error} ${error.cause ?? ''}`);
    }
}

for (const [step, bodyOf] of [
    ['declared', (bytes) => Buffer.alloc(bytes, ' ')],
    ['streamed', streamed],
]) {
    for (const request of REQUESTS) {
        for (const bytes of [5 * MEBIBYTE, 30 * MEBIBYTE]) {
            for (let attempt = 0; attempt < TRIES; attempt += 1) {
                await send(request, bytes, bodyOf(bytes));
            }
        }
    }
    console.log(`ok ${step}`);
}
