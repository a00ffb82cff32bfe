// A Prometheus with the deployed rules, which scrapes the instances under test.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePort } from '../program.mjs';

const ROOT = path.resolve(import.meta.dirname, '../..');
const RULES = path.join(ROOT, 'grafana/prometheus/rules.yml');
// The job that rules and dashboards name.
const JOB = 'notes-mcp';
const PATIENCE = 60_000;

// How often it scrapes and evaluates rules, in seconds.
export const INTERVAL = 1;

export async function startPrometheus({ ports, token }) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'notes-mcp-prometheus-'));
    const interval = `${INTERVAL}s`;
    const config = {
        global: { scrape_interval: interval, scrape_timeout: interval, evaluation_interval: interval },
        rule_files: [RULES],
        scrape_configs: [
            {
                job_name: JOB,
                authorization: { credentials: token },
                static_configs: [{ targets: ports.map((port) => `127.0.0.1:${port}`) }],
            },
        ],
    };
    const file = path.join(folder, 'prometheus.yml');
    // JSON is YAML.
    fs.writeFileSync(file, JSON.stringify(config));
    const port = await freePort();
    const logPath = path.join(folder, 'log');
    const log = fs.openSync(logPath, 'w');
    const args = [
        `--config.file=${file}`,
        `--storage.tsdb.path=${path.join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
    ];
    const child = spawn(findPrometheus(), args, { stdio: ['ignore', log, log] });
    fs.closeSync(log);

    async function get(name, parameters) {
        const url = new URL(`http://127.0.0.1:${port}/api/v1/${name}`);
        url.search = new URLSearchParams(parameters);
        const answer = await (await fetch(url)).json();
        if (answer.status !== 'success') throw new Error(`${parameters.query}: ${answer.error}`);
        return answer.data.result;
    }

    const prometheus = {
        // The result at one time, in seconds.
        at: (query, time) => get('query', { query, time }),
        range: (query, { start, end, step }) => get('query_range', { query, start, end, step }),
        async stop() {
            child.kill('SIGTERM');
            if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
            fs.rmSync(folder, { recursive: true });
        },
    };

    const scraped = `count(up{job="${JOB}"} == 1) == ${ports.length}`;
    const deadline = Date.now() + PATIENCE;
    for (;;) {
        const found = await get('query', { query: scraped }).catch(() => []);
        if (found.length > 0) return prometheus;
        if (child.exitCode !== null || Date.now() > deadline) {
            const said = fs.readFileSync(logPath, 'utf8');
            await prometheus.stop();
            throw new Error(`Prometheus does not scrape all instances:\n${said}`);
        }
        await new Promise((again) => setTimeout(again, 100));
    }
}

function findPrometheus() {
    const folders = [path.join(ROOT, 'target/tools/prometheus/usr/bin'), ...process.env.PATH.split(':')];
    const found = folders.map((folder) => path.join(folder, 'prometheus')).find((it) => fs.existsSync(it));
    if (!found) throw new Error('prometheus is needed: scripts/test operate installs it');
    return found;
}
