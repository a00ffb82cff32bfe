// Starts one of our programs for a test.
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { startProxy } from './conformance/proxy.mjs';

const target = path.resolve(
    import.meta.dirname,
    '..',
    process.env.CARGO_TARGET_DIR ?? 'target',
    'debug',
);

// The path of a program that `cargo build` made.
function program(name) {
    return path.join(target, name);
}

// Starts a subcommand of `test-tools` that says on its first line, in JSON, how to reach it, and that
// ends when its standard input does: so it never outlives the test.
export async function startProgram(name, args, env = {}) {
    const child = spawn(program('test-tools'), [name, ...args], {
        stdio: ['pipe', 'pipe', 'inherit'],
        env: { ...process.env, ...env },
    });
    const gone = once(child, 'exit').then(([code]) => {
        throw new Error(`${name} ended with ${code} before it said how to reach it`);
    });
    const lines = readline.createInterface({ input: child.stdout });
    const [line] = await Promise.race([once(lines, 'line'), gone]);
    gone.catch(() => {});
    return {
        hello: JSON.parse(line),
        // What it says after that.
        lines,
        async stop() {
            child.stdin.end();
            if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
        },
    };
}

const PATIENCE = 60_000;

// Starts the product as `cargo run` does, in a folder of its own, with development sign-in, and with
// further settings if need be.
export async function startServer(settings = {}) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'notes-mcp-'));
    const port = await freePort();
    const origin = `http://127.0.0.1:${port}`;
    const own = { PATH: process.env.PATH, PORT: `${port}`, PUBLIC_URL: origin, DATA_DIR: folder };
    const env = { ...own, ...settings };
    const logPath = path.join(folder, 'log');
    const log = fs.openSync(logPath, 'w');
    const options = { env, cwd: folder, stdio: ['ignore', log, log] };
    const child = spawn(program('notes-mcp'), [], options);

    const deadline = Date.now() + PATIENCE;
    while (!(await fetch(`${origin}/healthz`).then((it) => it.ok, () => false))) {
        if (child.exitCode !== null || Date.now() > deadline) {
            throw new Error(`notes-mcp did not start:\n${fs.readFileSync(logPath)}`);
        }
        await new Promise((again) => setTimeout(again, 20));
    }
    return {
        origin,
        port,
        // A token, as the operator's command prints it.
        token(user) {
            const printed = execFileSync(program('notes-mcp'), ['token', '--user', user], {
                ...options,
                stdio: ['ignore', 'pipe', log],
            });
            return printed.toString().trim();
        },
        async stop(forgetLog) {
            child.kill('SIGTERM');
            if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
            if (forgetLog) fs.rmSync(folder, { recursive: true });
            else console.log(`The server's log is ${logPath}`);
        },
    };
}

export async function freePort() {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    return port;
}

// Starts the product as it runs for others: instances on PostgreSQL behind a load balancer that is
// not sticky, and people who sign in with a GitHub of our own, or with one of several providers.
export async function startForOthers({ instances = 2, allowed, several } = {}) {
    const proxy = await startProxy();
    const args = ['--public-url', proxy.origin, '--instances', `${instances}`];
    if (allowed) args.push('--allowed', allowed);
    if (several) args.push('--several');
    const web = await startProgram('sign-in-web', args).catch((error) => {
        proxy.close();
        throw error;
    });
    proxy.forwardTo(web.hello.ports);
    return {
        origin: proxy.origin,
        async stop() {
            proxy.close();
            await web.stop();
        },
    };
}

// Starts the product as the README has it run for others: with settings, `migrate` and the program
// itself, twice, beside a PostgreSQL, a Redis and a GitHub of our own. With the name of a host it is
// reached by https. The settings may depend on its address.
export async function startByTheReadme({ host, settings = {} } = {}) {
    const proxy = await startProxy(host && certificate(host));
    const origin = host ? `https://${host}:${proxy.port}` : proxy.origin;
    const around = await startProgram('sign-in-web', ['--public-url', origin, '--settings-only']);
    const all = {
        ...around.hello.settings,
        JWT_SIGNING_SECRET: randomBytes(32).toString('base64'),
        HOST: '127.0.0.1',
        ...(typeof settings === 'function' ? await settings(origin) : settings),
    };
    execFileSync(program('notes-mcp'), ['migrate'], { env: all, stdio: 'pipe' });
    const servers = [await startServer(all), await startServer(all)];
    const ports = servers.map((it) => it.port);
    proxy.forwardTo(ports);
    return {
        origin,
        ports,
        async stop(forgetLog) {
            proxy.close();
            for (const server of servers) await server.stop(forgetLog);
            await around.stop();
        },
    };
}

// A key and a certificate that nobody vouches for, in one text.
function certificate(host) {
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    args.push('-nodes', '-days', '2', '-subj', `/CN=${host}`, '-keyout', '-', '-out', '-');
    const both = execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    return { key: both, cert: both };
}
