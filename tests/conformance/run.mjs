// Runs the official MCP conformance suite against `conformance-web`, in both protocol eras and with
// authentication on, over several instances behind a load balancer that is not sticky.
//
//   node tests/conformance/run.mjs [--instances N] [--scenario NAME]
//
// The suite's own exit code says too little: it ignores warnings, skipped checks, scenarios that it
// does not score, and scenarios that threw. Here every server scenario of a revision must have run,
// and every check of it must have succeeded.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { startProgram } from '../program.mjs';
import { startProxy } from './proxy.mjs';

const REVISIONS = ['2025-11-25', '2026-07-28'];

// Not yet: the tasks extension comes with the jobs that it is about.
const EXCLUDED = new Set([
    'tasks-capability-negotiation',
    'tasks-dispatch-and-envelope',
    'tasks-lifecycle',
    'tasks-mrtr-composition',
    'tasks-mrtr-input',
    'tasks-request-headers',
    'tasks-request-state-removal',
    'tasks-required-task-error',
    'tasks-status-notifications',
    'tasks-wire-fields',
]);

const root = path.resolve(import.meta.dirname, '../..');
const suite = path.join(
    root,
    'tests/node_modules/@modelcontextprotocol/conformance/dist/index.js',
);
const { values: options } = parseArgs({
    options: {
        instances: { type: 'string', default: '3' },
        scenario: { type: 'string' },
    },
});

let passed = 0;
let failed = 0;

function fail(...words) {
    failed += 1;
    console.log('FAILED', ...words);
}

// The scenarios of a revision, scored or not, as the suite lists them.
function scenarios(revision) {
    const { stdout } = spawnSync(
        process.execPath,
        [suite, 'list', '--server', '--requirements', revision],
        { encoding: 'utf8' },
    );
    const listed = new Set();
    let section = '';
    for (const line of stdout.split('\n')) {
        if (/^\S/.test(line)) section = line;
        const [, name, side] = /^ +- (\S+)(?: \[(\w+)\])?$/.exec(line) ?? [];
        if (name && (side === 'server' || (!side && section.startsWith('Server scenarios')))) {
            listed.add(name);
        }
    }
    return listed;
}

// Not spawnSync: the proxy has to go on while the suite runs.
function run(args, log) {
    return new Promise((done) => {
        const file = fs.openSync(log, 'w');
        const child = spawn(process.execPath, args, { stdio: ['ignore', file, file] });
        child.on('exit', (code) => done(code));
    });
}

async function check(revision, url) {
    const results = path.join(root, 'target/conformance', revision);
    fs.rmSync(results, { recursive: true, force: true });
    fs.mkdirSync(results, { recursive: true });
    const which = options.scenario
        ? ['--scenario', options.scenario, '--spec-version', revision]
        : ['--requirements', revision];
    const code = await run(
        [suite, 'server', '--url', url, ...which, '-o', results],
        path.join(results, 'log'),
    );
    if (code !== 0) fail(revision, `the suite ended with ${code}, see ${results}/log`);

    const expected = options.scenario ? new Set([options.scenario]) : scenarios(revision);
    const ran = new Map();
    for (const folder of fs.readdirSync(results)) {
        const [, name] = /^server-(.+)-\d{4}-\d\d-\d\dT/.exec(folder) ?? [];
        if (name) ran.set(name, path.join(results, folder, 'checks.json'));
    }
    for (const name of expected) {
        if (EXCLUDED.has(name)) continue;
        if (!ran.has(name) || !fs.existsSync(ran.get(name))) {
            fail(revision, name, 'did not run');
            continue;
        }
        const checks = JSON.parse(fs.readFileSync(ran.get(name), 'utf8'));
        if (!checks.some((it) => it.status === 'SUCCESS')) fail(revision, name, 'checked nothing');
        for (const it of checks) {
            if (it.status === 'SUCCESS') passed += 1;
            else if (it.status !== 'INFO') {
                fail(revision, name, it.id, it.status, it.errorMessage ?? it.description);
            }
        }
    }
    const skipped = [...expected].filter((it) => EXCLUDED.has(it));
    console.log(
        `${revision}: ${expected.size - skipped.length} scenarios, ${skipped.length} left out`,
    );
}

const proxy = await startProxy();
const web = await startProgram('conformance-web', [
    ...['--public-url', proxy.origin],
    ...['--instances', options.instances],
]);
try {
    proxy.forwardTo(web.hello.ports, web.hello.token);
    for (const revision of REVISIONS) await check(revision, `${proxy.origin}/mcp`);
} finally {
    await web.stop();
    proxy.close();
}
console.log(`total: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
