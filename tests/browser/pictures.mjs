// Takes the pictures of README from the running product: scripts/pictures.
import { chromium } from 'playwright-core';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { startByTheReadme, startForOthers } from '../program.mjs';
import { App } from './app.mjs';
import { findChromium } from './chromium.mjs';
import { openDashboard, readDashboard } from './dashboard.mjs';
import { startPrometheus } from './prometheus.mjs';
import { makeTraffic } from './traffic.mjs';
import { connect } from './views.mjs';
import { HOST } from './web_client.mjs';

const FOLDER = path.resolve(import.meta.dirname, '../../docs/pictures');
const WIDTH = 640;
// A dashboard is wider, and its first screen is as high as this many units of its grid.
const DASHBOARD = { width: 1000, height: 27 };
// How long the dashboard looks at traffic, in ms.
const DURATION = 90_000;

const NOTES = [
    ['Repot the lemon tree', 'Before the end of March. The pot must have a hole, and the soil must drain.', ['garden']],
    ['Talk: sessions without sticky sessions', 'Start with the demo: kill an instance during a call.', ['work', 'talks']],
    ['Bread', 'Hydration 70 %. Autolyse for an hour, then salt. Bake at 240 °C under a lid.', ['kitchen']],
    ['Questions for the architect', 'Who owns the north wall? May we add a window?', ['house']],
    ['Green tea', 'Sencha: 70 °C, two minutes. Gyokuro: 50 °C.', ['kitchen', 'tea']],
];

const settled = (view) => view.evaluate(() => new Promise((done) => requestAnimationFrame(() => done())));

// Takes a picture of something in light and in dark.
async function picture(page, name, target, setTheme) {
    for (const theme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme: theme });
        await setTheme?.(theme);
        await settled(page);
        await target.screenshot({ path: path.join(FOLDER, `${name}-${theme}.png`) });
    }
}

async function takeConsent(origin, context) {
    const app = await App.register(origin, { name: 'Claude Code' });
    const page = await context.newPage();
    await page.setViewportSize({ width: WIDTH, height: 640 });
    await page.goto(app.begin().url);
    await page.getByRole('button', { name: 'Approve', exact: true }).waitFor();
    await picture(page, 'consent', page);
    await page.close();
    app.close();
}

async function takeView(opened, name) {
    const { page, view, send } = opened;
    await page.setViewportSize({ width: WIDTH, height: 900 });
    await picture(page, name, page.locator('iframe'), async (theme) => {
        await send('sendHostContextChange', { theme });
        await view.waitForFunction((it) => document.documentElement.dataset.theme === it, theme);
    });
}

async function takeViews(origin, context) {
    const host = await connect(origin, context);
    for (const [title, body, tags] of NOTES) await host.output('notes_create', { title, body, tags });
    const board = await host.result('notes_list', {});
    await board.view.getByText('5 notes').waitFor();
    await takeView(board, 'board');

    const text = Array.from({ length: 20_000 }, (_, index) => `# Leaf ${index}\n\n${'Green. '.repeat(15)}\n`);
    const input = { text: text.join('<!-- notes-mcp: next note -->\n'), on_conflict: 'skip' };
    const running = await host.view('notes_import', input);
    const result = host.call('notes_import', input);
    await running.view.waitForFunction(() => document.querySelector('progress')?.position > 0);
    await takeView(running, 'import');
    await result;
    await host.close();
}

async function takePages(browser) {
    const server = await startForOthers({ allowed: 'ada' });
    try {
        const context = await browser.newContext({ reducedMotion: 'reduce' });
        const { hostname } = new URL(server.origin);
        await context.addCookies([{ name: 'github-account', value: 'ada', domain: hostname, path: '/' }]);
        await takeConsent(server.origin, context);
        await takeViews(server.origin, context);
    } finally {
        await server.stop();
    }
}

// The instances are processes of their own: a process has one set of metrics.
async function takeDashboard(browser) {
    const token = randomBytes(32).toString('hex');
    const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD']).toString().trim();
    const settings = { METRICS_TOKEN: token, RENDER_GIT_COMMIT: commit };
    const server = await startByTheReadme({ settings });
    let prometheus;
    let isTaken = false;
    try {
        prometheus = await startPrometheus({ ports: server.ports, token });
        const start = Math.ceil(Date.now() / 1000);
        const end = start + DURATION / 1000;
        await makeTraffic(server.origin, end * 1000);
        const { width, height } = DASHBOARD;
        const dashboard = await readDashboard('overview', prometheus, { start, end, height });
        const { page, draw } = await openDashboard(await browser.newContext(), dashboard, width);
        await picture(page, 'overview', page.locator('html'), draw);
        isTaken = true;
    } finally {
        await prometheus?.stop();
        await server.stop(isTaken);
    }
}

fs.mkdirSync(FOLDER, { recursive: true });
const browser = await chromium.launch({
    executablePath: findChromium(),
    args: [`--host-resolver-rules=MAP ${HOST} 127.0.0.1`],
});
try {
    await takePages(browser);
    await takeDashboard(browser);
} finally {
    await browser.close();
}
