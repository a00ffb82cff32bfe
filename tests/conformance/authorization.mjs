// Runs the official suite's scenarios for authorization servers, which send a person to the consent
// page and to GitHub, on one's own machine and, for every revision of the protocol, on PostgreSQL with
// several instances.
//
//   node tests/conformance/authorization.mjs
//
// These are all of its scenarios that we can be the subject of, besides those for servers (run.mjs).
// In its scenarios `auth/*` the suite plays the servers, ours and GitHub's alike, and examines a
// client: it never asks us anything.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { signIn } from '../person.mjs';
import { freePort, startForOthers, startServer } from '../program.mjs';

const REVISIONS = ['2025-03-26', '2025-06-18', '2025-11-25', '2026-07-28'];

const root = path.resolve(import.meta.dirname, '../..');
const suite = path.join(
    root,
    'tests/node_modules/@modelcontextprotocol/conformance/dist/index.js',
);

let passed = 0;
let failed = 0;

function fail(...words) {
    failed += 1;
    console.log('FAILED', ...words);
}

// The scenarios of a revision, as the suite lists them.
function scenarios(revision) {
    const args = [suite, 'list', '--authorization', '--spec-version', revision];
    const { stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    return [...stdout.matchAll(/^ +- (\S+) \[/gm)].map(([, name]) => name);
}

// A client that names no port: the suite listens on whichever is free.
async function register(origin) {
    const response = await fetch(`${origin}/register`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
            client_name: 'Conformance',
            redirect_uris: ['http://127.0.0.1/callback'],
        }),
    });
    if (response.status !== 201) throw new Error(`no registration: ${await response.text()}`);
    return (await response.json()).client_id;
}

// Runs the suite, and is the person whom it sends to a browser.
async function run(args, log) {
    const file = fs.createWriteStream(log);
    const child = spawn(process.execPath, [suite, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(child, 'close');
    let output = '';
    let person;
    for await (const data of child.stdout.setEncoding('utf8')) {
        file.write(data);
        output += data;
        const [, url] = /^(http\S+[?&]response_type=code\S*)\s*\n/m.exec(output) ?? [];
        if (!url || person) continue;
        person = signIn(url, 'conformance')
            .then((client) => fetch(client))
            .catch((error) => {
                fail('the person did not get to the suite:', error.message);
                child.kill();
            });
    }
    const [code] = await ended;
    file.end();
    await person;
    return code;
}

async function check(place, origin, client, revision) {
    const results = path.join(root, 'target/conformance', `authorization-${place}-${revision}`);
    fs.rmSync(results, { recursive: true, force: true });
    fs.mkdirSync(results, { recursive: true });
    const args = ['authorization', '--url', origin, '--client-id', client];
    args.push('--resource', `${origin}/mcp`, '--port', `${await freePort()}`);
    args.push('--spec-version', revision, '-o', results);
    const code = await run(args, path.join(results, 'log'));
    if (code !== 0) fail(place, revision, `the suite ended with ${code}, see ${results}/log`);

    const expected = scenarios(revision);
    if (expected.length === 0) fail(place, revision, 'the suite lists nothing');
    const folders = fs.readdirSync(results);
    for (const name of expected) {
        const folder = folders.find((it) => it.includes(`${name}-2`));
        const file = folder && path.join(results, folder, 'checks.json');
        if (!file || !fs.existsSync(file)) {
            fail(place, revision, name, 'did not run');
            continue;
        }
        const checks = JSON.parse(fs.readFileSync(file, 'utf8'));
        if (!checks.some((it) => it.status === 'SUCCESS')) {
            fail(place, revision, name, 'checked nothing');
        }
        for (const it of checks) {
            if (it.status === 'SUCCESS') passed += 1;
            else if (it.status !== 'INFO') {
                fail(place, revision, name, it.id, it.status, it.errorMessage ?? it.description);
            }
        }
    }
    console.log(`${place}, ${revision}: ${expected.length} scenarios`);
}

for (const [place, start, revisions] of [
    // They ask the same of an authorization server, so once is enough here.
    ['embedded', startServer, REVISIONS.slice(-1)],
    ['postgres', startForOthers, REVISIONS],
]) {
    const server = await start();
    const before = failed;
    try {
        const client = await register(server.origin);
        for (const revision of revisions) await check(place, server.origin, client, revision);
    } finally {
        await server.stop(failed === before);
    }
}
console.log(`total: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
