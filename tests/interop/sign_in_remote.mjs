// mcp-remote, the bridge of clients that know only local servers: it opens a browser, and a person
// signs in there. The next time it starts it has to get by without one.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { freePort } from '../program.mjs';
import { identity } from './story.mjs';

const ok = (step) => console.log(`ok ${step}`);
const tests = path.resolve(import.meta.dirname, '..');
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mcp-remote-'));

// What opens a browser on Linux and on macOS, and tells of it.
const opened = path.join(folder, 'opened');
fs.mkdirSync(path.join(folder, 'bin'));
const program = path.join(folder, 'bin', 'xdg-open');
const person = `'${process.execPath}' '${tests}/person.mjs' --visit`;
fs.writeFileSync(program, `#!/bin/sh\necho "$@" >>'${opened}'\nexec ${person} "$@"\n`, { mode: 0o755 });
fs.copyFileSync(program, path.join(folder, 'bin', 'open'));

// The port of the redirect. Without it, mcp-remote derives one from the URL, takes another if that is in use,
// and asks again at its next start if the first one is free then.
const port = await freePort();

async function connect() {
    const transport = new StdioClientTransport({
        command: process.execPath,
        args: [path.join(tests, 'node_modules/mcp-remote/dist/proxy.js'), process.env.MCP_URL, `${port}`],
        env: {
            PATH: `${folder}/bin:${process.env.PATH}`,
            HOME: folder,
            BROWSER: program,
            MCP_REMOTE_CONFIG_DIR: folder,
            PERSON: process.env.PERSON,
        },
        stderr: 'pipe',
    });
    let said = '';
    transport.stderr.on('data', (data) => (said += data));
    const client = new Client(identity);
    await client.connect(transport).catch((error) => {
        console.log(said);
        throw error;
    });
    return client;
}

async function call(client, name, args) {
    const result = await client.callTool({ name, arguments: args });
    assert.ok(!result.isError, JSON.stringify(result.content));
    return result.structuredContent;
}

// The file in which mcp-remote keeps its tokens.
function tokens() {
    const files = fs.readdirSync(folder, { recursive: true });
    const file = files.find((it) => it.endsWith('_tokens.json'));
    return path.join(folder, file);
}

const timesOpened = () => fs.readFileSync(opened, 'utf8').trim().split('\n').length;

let client = await connect();
assert.equal(timesOpened(), 1);
ok('connects');
const { tools } = await client.listTools();
assert.ok(tools.some((tool) => tool.name === 'notes_create'));
ok('lists');
const note = await call(client, 'notes_create', { title: 'Groceries', body: 'Milk' });
ok('creates');
await client.close();

const kept = JSON.parse(fs.readFileSync(tokens(), 'utf8'));
fs.writeFileSync(tokens(), JSON.stringify({ ...kept, access_token: 'expired' }));
client = await connect();
assert.equal((await call(client, 'notes_get', { id: note.id })).body, 'Milk');
const renewed = JSON.parse(fs.readFileSync(tokens(), 'utf8'));
assert.notEqual(renewed.refresh_token, kept.refresh_token, 'it was rotated');
ok('refreshes');
assert.equal(timesOpened(), 1, 'nobody was asked again');
ok('returns');
await client.close();
fs.rmSync(folder, { recursive: true });
