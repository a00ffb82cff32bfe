// Lets the official clients use the real server: each lists the tools, writes, reads and deletes a
// note, gets progress, lends its model and answers a question.
//
//   node tests/interop/run.mjs
import { spawn, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { program } from '../program.mjs';

const here = import.meta.dirname;
const CLIENTS = [
    ['TypeScript v1, legacy', process.execPath, 'typescript_v1.mjs'],
    ['TypeScript v2, legacy', process.execPath, 'typescript_v2.mjs', 'legacy'],
    ['TypeScript v2, modern', process.execPath, 'typescript_v2.mjs', 'auto'],
    ['Python, legacy', 'python', 'python_client.py', 'legacy'],
    ['Python, modern', 'python', 'python_client.py', 'auto'],
];

// What every client has to have done; see the scripts.
const STEPS = ['lists', 'creates', 'reads', 'resource', 'progress', 'sampling', 'declines', 'deletes'];

async function freePort() {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    return port;
}

async function startServer(folder) {
    const port = await freePort();
    const env = {
        PATH: process.env.PATH,
        PORT: String(port),
        PUBLIC_URL: `http://127.0.0.1:${port}`,
        DATA_DIR: folder,
    };
    const log = fs.openSync(path.join(folder, 'log'), 'w');
    const child = spawn(program('notes-mcp'), [], { env, cwd: folder, stdio: ['ignore', log, log] });
    const deadline = Date.now() + 30_000;
    for (;;) {
        const ready = await fetch(`${env.PUBLIC_URL}/healthz`).then((it) => it.ok, () => false);
        if (ready) break;
        if (child.exitCode !== null || Date.now() > deadline) {
            throw new Error(`notes-mcp did not start:\n${fs.readFileSync(path.join(folder, 'log'))}`);
        }
        await new Promise((wait) => setTimeout(wait, 20));
    }
    const token = (user) =>
        execFileSync(program('notes-mcp'), ['token', '--user', user], { env, cwd: folder })
            .toString()
            .trim();
    return { url: `${env.PUBLIC_URL}/mcp`, token, child };
}

let passed = 0;
let failed = 0;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'notes-interop-'));
const server = await startServer(folder);
try {
    for (const [name, command, script, ...args] of CLIENTS) {
        const user = name.replace(/\W+/g, '-').toLowerCase();
        const client = spawn(command, [path.join(here, script), ...args], {
            stdio: ['ignore', 'pipe', 'inherit'],
            env: { ...process.env, MCP_URL: server.url, MCP_TOKEN: server.token(user) },
        });
        const done = new Set();
        readline.createInterface({ input: client.stdout }).on('line', (line) => {
            const [, step] = /^ok (\w+)$/.exec(line) ?? [];
            if (step) done.add(step);
            else console.log(`${name}: ${line}`);
        });
        const [code] = await once(client, 'close');
        const missing = STEPS.filter((step) => !done.has(step));
        passed += STEPS.length - missing.length;
        failed += missing.length + (missing.length === 0 && code !== 0 ? 1 : 0);
        const problem = missing.length > 0 || code !== 0;
        console.log(`${name}: ${problem ? `FAILED at ${missing[0] ?? 'its end'}` : 'ok'}`);
    }
} finally {
    server.child.kill('SIGTERM');
    if (server.child.exitCode === null) await once(server.child, 'exit');
    if (failed === 0) fs.rmSync(folder, { recursive: true });
    else console.log(`The server's log is ${folder}/log`);
}
console.log(`total: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
