// Lets the official clients use the real server: each lists the tools, writes, reads and deletes a
// note, gets progress, lends its model and answers a question.
//
//   node tests/interop/run.mjs
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import readline from 'node:readline';
import { startServer } from '../program.mjs';

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

let passed = 0;
let failed = 0;
const server = await startServer();
try {
    for (const [name, command, script, ...args] of CLIENTS) {
        const user = name.replace(/\W+/g, '-').toLowerCase();
        const client = spawn(command, [path.join(here, script), ...args], {
            stdio: ['ignore', 'pipe', 'inherit'],
            env: { ...process.env, MCP_URL: `${server.origin}/mcp`, MCP_TOKEN: server.token(user) },
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
    await server.stop(failed === 0);
}
console.log(`total: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
