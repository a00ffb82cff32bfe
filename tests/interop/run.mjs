// Lets the official clients, and others that people use, meet the real server.
//
//   node tests/interop/run.mjs
//
// With a token: each lists the tools, writes, reads and deletes a note, gets progress, lends its
// model and answers a question; and the schemas of the tools are read by those that are strict about
// them. And from nothing but the address: each finds out how to sign in,
// does so, uses the notes, and later goes on without the person: on one's own machine, on several
// instances with GitHub, on the program that one starts after reading the README, and there with a
// certified OpenID Connect provider instead of GitHub.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import readline from 'node:readline';
import { PROVIDERS, startOpenIdProvider } from './openid_provider.mjs';
import { startByTheReadme, startForOthers, startServer } from '../program.mjs';

const here = import.meta.dirname;
const node = process.execPath;
const CLIENTS = [
    ['TypeScript v1, legacy', node, 'typescript_v1.mjs'],
    ['TypeScript v2, legacy', node, 'typescript_v2.mjs', 'legacy'],
    ['TypeScript v2, modern', node, 'typescript_v2.mjs', 'auto'],
    ['Python, legacy', 'python', 'python_client.py', 'legacy'],
    ['Python, modern', 'python', 'python_client.py', 'auto'],
];
const SIGN_INS = [
    ['TypeScript v1', node, 'sign_in_v1.mjs'],
    ['TypeScript v2, legacy', node, 'sign_in_v2.mjs', 'legacy'],
    ['TypeScript v2, modern', node, 'sign_in_v2.mjs', 'auto'],
    ['Python', 'python', 'sign_in_python.py'],
    ['mcp-remote', node, 'sign_in_remote.mjs'],
    ['oauth4webapi', node, 'sign_in_strict.mjs'],
];

const DPOP = ['oauth4webapi with DPoP', node, 'sign_in_dpop.mjs'];

const SCHEMA_READERS = [
    ['google-genai', 'python', 'schemas_python.py'],
    ['Ajv', node, 'schemas_ajv.mjs'],
];

const EARLY_RESPONSES = ['fetch of Node', node, 'early_responses.mjs'];

// What every client has to have done; see the scripts.
const STEPS = ['lists', 'creates', 'reads', 'resource', 'progress', 'sampling', 'declines', 'deletes'];
const SCHEMA_STEPS = {
    'schemas_python.py': ['lists', 'converts'],
    'schemas_ajv.mjs': ['lists', 'compiles'],
};
const SIGN_IN_STEPS = {
    'sign_in_remote.mjs': ['connects', 'lists', 'creates', 'refreshes', 'returns'],
    'sign_in_strict.mjs': [
        ...['discovers', 'registers', 'connects', 'upgrades', 'verifies', 'refreshes', 'revokes'],
    ],
    'sign_in_dpop.mjs': ['discovers', 'registers', 'connects', 'verifies', 'refuses', 'refreshes'],
};
const USUAL_SIGN_IN_STEPS = [
    ...['discovers', 'registers', 'connects', 'lists', 'creates', 'refreshes', 'returns'],
];

// Longer than any client takes on a busy machine. One that waits for something waits forever.
const PATIENCE = 120_000;

let passed = 0;
let failed = 0;

async function use(origin, [name, command, script, ...args], steps, env) {
    const client = spawn(command, [path.join(here, script), ...args], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, MCP_URL: `${origin}/mcp`, ...env },
        timeout: PATIENCE,
        killSignal: 'SIGKILL',
    });
    const done = new Set();
    readline.createInterface({ input: client.stdout }).on('line', (line) => {
        const [, step] = /^ok (\w+)$/.exec(line) ?? [];
        if (step) done.add(step);
        else console.log(`${name}: ${line}`);
    });
    const [code] = await once(client, 'close');
    const missing = steps.filter((step) => !done.has(step));
    passed += steps.length - missing.length;
    failed += missing.length + (missing.length === 0 && code !== 0 ? 1 : 0);
    const problem = missing.length > 0 || code !== 0;
    console.log(`${name}: ${problem ? `FAILED at ${missing[0] ?? 'its end'}` : 'ok'}`);
}

async function signInAt(place, clients = SIGN_INS, env = {}) {
    for (const client of clients) {
        // Each is somebody else, so that nobody finds notes of another.
        const person = client[0].replace(/\W+/g, '-').toLowerCase();
        const steps = SIGN_IN_STEPS[client[2]] ?? USUAL_SIGN_IN_STEPS;
        await use(place.origin, client, steps, { PERSON: person, ...env });
    }
}

const server = await startServer();
try {
    console.log('With a token');
    for (const client of CLIENTS) {
        const user = client[0].replace(/\W+/g, '-').toLowerCase();
        await use(server.origin, client, STEPS, { MCP_TOKEN: server.token(user) });
    }
    console.log('The schemas of the tools');
    for (const reader of SCHEMA_READERS) {
        const env = { MCP_TOKEN: server.token('schemas') };
        await use(server.origin, reader, SCHEMA_STEPS[reader[2]], env);
    }
    console.log('From nothing but the address, on one’s own machine');
    await signInAt(server);
    // Last, because it uses up what this machine may register.
    console.log('Responses that come before the body is sent');
    await use(server.origin, EARLY_RESPONSES, ['declared', 'streamed'], { MCP_TOKEN: server.token('early') });
} finally {
    await server.stop(failed === 0);
}

const several = await startForOthers();
try {
    console.log('From nothing but the address, on PostgreSQL and with GitHub, several instances');
    await signInAt(several);
} finally {
    await several.stop();
}

const alone = await startByTheReadme();
try {
    console.log('From nothing but the address, on PostgreSQL and with GitHub, by the README');
    // What people have most: a client of an SDK, and the bridge.
    await signInAt(alone, SIGN_INS.filter(([name]) => ['Python', 'mcp-remote'].includes(name)));
} finally {
    await alone.stop(failed === 0);
}
const bound = await startByTheReadme({ settings: { DPOP: 'required' } });
try {
    console.log('From nothing but the address, on several instances that require DPoP');
    await signInAt(bound, [DPOP]);
} finally {
    await bound.stop(failed === 0);
}
let openId;
const settings = async (origin) => (openId = await startOpenIdProvider(origin)).settings;
const withOpenId = await startByTheReadme({ settings });
try {
    console.log('From nothing but the address, with a certified OpenID Connect provider');
    const [strict] = SIGN_INS.filter(([name]) => name === 'oauth4webapi');
    for (const name of PROVIDERS) {
        const client = [`${strict[0]}, ${name}`, ...strict.slice(1)];
        await signInAt(withOpenId, [client], { PROVIDER: name });
    }
    const problems = [...openId.problems];
    if (openId.refreshTokens() === 0) problems.push('it was not asked for a refresh token');
    for (const problem of problems) console.log(`FAILED the provider: ${problem}`);
    if (problems.length === 0) passed += 1;
    failed += problems.length;
} finally {
    await withOpenId.stop(failed === 0);
    openId.stop();
}
console.log(`total: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
