// Runs the official MCP conformance suite against `conformance-web`, in both protocol eras and with
// authentication on, over several instances behind a load balancer that is not sticky.
//
//   node tests/conformance/run.mjs [--instances N] [--workers N] [--scenario NAME] [--kill]
//
// With --kill the instances are processes of their own, and every two seconds one of them, or one of
// two workers, is killed and started again. A job of a dead worker goes on in the other one, and no
// excuse is made for it. The load balancer repeats nothing that was sent, so a request can break with its
// instance, and a suite that knows nothing of it takes that for a failure: then, and only then, the
// scenario is run again.
//
// The suite's own exit code says too little: it ignores warnings, skipped checks, scenarios that it
// does not score, and scenarios that threw. Here every server scenario of a revision must have run,
// and every check of it must have succeeded.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { freePort, startProgram } from '../program.mjs';
import { startProxy } from './proxy.mjs';

const REVISIONS = ['2025-11-25', '2026-07-28'];

// The suite itself skips all of it: it has no check yet.
const EXCLUDED = new Set(['tasks-status-notifications']);

const root = path.resolve(import.meta.dirname, '../..');
const suite = path.join(
    root,
    'tests/node_modules/@modelcontextprotocol/conformance/dist/index.js',
);
const { values: options } = parseArgs({
    options: {
        instances: { type: 'string', default: '3' },
        workers: { type: 'string', default: '2' },
        scenario: { type: 'string' },
        kill: { type: 'boolean', default: false },
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

// Runs the suite, or one scenario of it, and gives what was checked by scenario.
async function runSuite(revision, url, scenario) {
    const results = path.join(root, 'target/conformance', revision, scenario ?? '');
    fs.rmSync(results, { recursive: true, force: true });
    fs.mkdirSync(results, { recursive: true });
    // Forced, because the scenarios of extensions belong to no revision.
    const which = scenario
        ? ['--scenario', scenario, '--spec-version', revision, '--force']
        : ['--requirements', revision];
    const log = path.join(results, 'log');
    const code = await run([suite, 'server', '--url', url, ...which, '-o', results], log);
    const ran = new Map();
    for (const folder of fs.readdirSync(results)) {
        const [, name] = /^server-(.+)-\d{4}-\d\d-\d\dT/.exec(folder) ?? [];
        const file = name && path.join(results, folder, 'checks.json');
        if (name && fs.existsSync(file)) ran.set(name, JSON.parse(fs.readFileSync(file, 'utf8')));
    }
    return { code, ran, log };
}

// What is wrong with a scenario, as lists of words.
function problems(checks) {
    if (!checks) return [['did not run']];
    if (!checks.some((it) => it.status === 'SUCCESS')) return [['checked nothing']];
    return checks
        .filter((it) => it.status !== 'SUCCESS' && it.status !== 'INFO')
        .map((it) => [it.id, it.status, it.errorMessage ?? it.description]);
}

// How often a scenario may be run again because a request of it broke.
const AGAIN = 8;

async function check(revision, url, broken) {
    const before = broken();
    const { code, ran, log } = await runSuite(revision, url, options.scenario);
    const excused = broken() > before;
    if (code !== 0 && !excused) fail(revision, `the suite ended with ${code}, see ${log}`);

    const expected = options.scenario ? new Set([options.scenario]) : scenarios(revision);
    let again = 0;
    for (const name of expected) {
        if (EXCLUDED.has(name)) continue;
        let checks = ran.get(name);
        let mayBreak = excused;
        for (let turn = 0; mayBreak && problems(checks).length > 0 && turn < AGAIN; turn += 1) {
            again += 1;
            const before = broken();
            checks = (await runSuite(revision, url, name)).ran.get(name);
            mayBreak = broken() > before;
        }
        for (const problem of problems(checks)) fail(revision, name, ...problem);
        passed += checks?.filter((it) => it.status === 'SUCCESS').length ?? 0;
    }
    const skipped = [...expected].filter((it) => EXCLUDED.has(it));
    console.log(
        `${revision}: ${expected.size - skipped.length} scenarios, ${skipped.length} left out`,
        ...(excused ? [`, ${broken() - before} requests broke, ${again} scenarios run again`] : []),
    );
}

async function underKills() {
    const fleet = await startProgram('conformance-fleet', []);
    let broken = 0;
    fleet.lines.on('line', (line) => {
        broken = JSON.parse(line).lost ?? broken;
    });
    try {
        for (const revision of REVISIONS) {
            await check(revision, `${fleet.hello.origin}/mcp`, () => broken);
        }
    } finally {
        await fleet.stop();
    }
}

async function atRest() {
    const proxy = await startProxy();
    const web = await startProgram('conformance-web', [
        ...['--public-url', proxy.origin],
        ...['--instances', options.instances],
        ...['--workers', options.workers],
    ]);
    const workers = [];
    try {
        // Stores that other processes can reach let the workers be processes of their own.
        for (let count = 0; web.hello.worker && count < Number(options.workers); count += 1) {
            const own = { WORKER_PORT: `${await freePort()}`, LOG: 'warn', TEST_PRODUCT: 'protocol' };
            const settings = { ...web.hello.worker, ...own };
            workers.push(await startProgram('fixtures-worker', ['--tied'], settings));
        }
        proxy.forwardTo(web.hello.ports, web.hello.token);
        for (const revision of REVISIONS) await check(revision, `${proxy.origin}/mcp`, () => 0);
    } finally {
        await Promise.all(workers.map((it) => it.stop()));
        await web.stop();
        proxy.close();
    }
}

await (options.kill ? underKills() : atRest());
console.log(`total: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
