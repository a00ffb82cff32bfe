// A page that looks like a dashboard of Grafana: the panels of grafana/dashboards, with what Prometheus
// answers to their queries. The charts are drawn by uPlot, as in Grafana, which itself is not needed.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { INTERVAL } from './prometheus.mjs';

const ROOT = path.resolve(import.meta.dirname, '../..');
const UPLOT = path.resolve(import.meta.dirname, '../node_modules/uplot/dist');

// Panels with metrics that only Render has.
const ELSEWHERE = ['Postgres CPU'];
// Panels about what does not happen in normal operation: their queries add `or vector(0)`.
const RARE = ['/healthz 503', '/token errors', 'Firing alerts'];

const VARIABLES = {
    // As Grafana calculates it where points are as far apart as scrapes.
    $__rate_interval: `${4 * INTERVAL}s`,
    $instance: '.*',
};

function filledIn(query) {
    const text = query.replace(/\$\w+/g, (name) => VARIABLES[name] ?? name);
    assert.ok(!text.includes('$'), `a variable without a value: ${text}`);
    return text;
}

// The name of a series in the legend.
function named(format, labels) {
    return format.replace(/\{\{(\w+)\}\}/g, (_, label) => labels[label] ?? '').trim();
}

function hasNumber({ value, values }) {
    return (values ?? [value]).some(([, text]) => Number.isFinite(Number(text)));
}

// The dashboard of this name, and the panels in its first `height` units, with their data: what a
// panel shows at the end, or in the whole time. Fails if there is nothing to show.
export async function readDashboard(name, prometheus, { start, end, height }) {
    const file = path.join(ROOT, `grafana/dashboards/${name}.json`);
    const { title, panels } = JSON.parse(fs.readFileSync(file, 'utf8'));
    const shown = panels.filter((it) => it.gridPos.y + it.gridPos.h <= height);
    const time = { start, end, step: INTERVAL };
    for (const panel of shown) {
        panel.series = [];
        for (const { expr, legendFormat, instant } of panel.targets ?? []) {
            const query = filledIn(expr);
            const ask = (text) => (instant ? prometheus.at(text, end) : prometheus.range(text, time));
            // What is added for a panel without data does not count as data.
            const found = await ask(query.replace(/ or vector\(0\)/, ''));
            const mayBeEmpty = [...ELSEWHERE, ...RARE].includes(panel.title);
            assert.ok(mayBeEmpty || found.some(hasNumber), `${panel.title}: no data for ${query}`);
            for (const { metric, value, values } of await ask(query)) {
                const points = (values ?? [value]).map(([at, text]) => [at, Number(text)]);
                panel.series.push({ name: named(legendFormat, metric), points });
            }
        }
    }
    return { title, panels: shown, time };
}

// Opens the dashboard in a new page. `draw` draws it again, for another theme.
export async function openDashboard(context, dashboard, width) {
    const page = await context.newPage();
    const problems = [];
    page.on('pageerror', (error) => problems.push(`${error}`));
    await page.setViewportSize({ width, height: 100 });
    await page.setContent('<!doctype html><html lang="en"><title>Dashboard</title><main></main></html>');
    await page.addStyleTag({ path: path.join(UPLOT, 'uPlot.min.css') });
    await page.addStyleTag({ path: path.join(import.meta.dirname, 'dashboard_page.css') });
    await page.addScriptTag({ path: path.join(UPLOT, 'uPlot.iife.min.js') });
    await page.addScriptTag({ path: path.join(import.meta.dirname, 'dashboard_page.js') });
    async function draw() {
        await page.evaluate((it) => globalThis.draw(it), dashboard);
        assert.deepEqual(problems, []);
    }
    await draw();
    return { page, draw };
}
