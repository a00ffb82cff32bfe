// Lets schemathesis try what /openapi.json says: no 5xx, no status, header or body that it does not
// document.
//
//   node tests/openapi/run.mjs
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { startServer } from '../program.mjs';

const server = await startServer();
let output = '';
let code;
try {
    const args = ['run', `${server.origin}/openapi.json`, '--checks', 'all', '--no-color'];
    // No schema can say that a code was issued, or a client registered: OAuth refuses with 400 what
    // is well-formed and not true.
    args.push('--exclude-checks', 'positive_data_acceptance');
    const client = spawn('schemathesis', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    client.stdout.on('data', (data) => (output += data));
    [code] = await once(client, 'close');
} finally {
    await server.stop(code === 0);
}

const cases = Number(/(\d+) generated/.exec(output)?.[1] ?? 0);
const failures = Number(/(\d+) (?:unique )?failures?/.exec(output)?.[1] ?? 0);
const failed = code === 0 ? 0 : Math.max(1, failures);
if (failed > 0) console.log(output);
console.log(`total: ${Math.max(0, cases - failed)} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
