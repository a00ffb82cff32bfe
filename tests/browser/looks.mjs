// What has to be true of every page in every state: nobody can frame it, it has no script, it fits a
// narrow screen, and axe finds nothing that keeps somebody out, in light and in dark. Screenshots of
// it are for people who change the pages.
import axe from 'axe-core';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

const SCREENSHOTS = path.resolve(import.meta.dirname, '../../target/test-logs/browser');
fs.rmSync(SCREENSHOTS, { recursive: true, force: true });
fs.mkdirSync(SCREENSHOTS, { recursive: true });

const WIDE = { width: 1200, height: 900 };
// The narrowest phones that are still around.
const NARROW = { width: 360, height: 740 };

// Where a screenshot of this name goes.
export function screenshotPath(name) {
    return path.join(SCREENSHOTS, `${name}.png`);
}

// Takes a close look at the page as it is now, and leaves it as it was.
export async function look(page, name) {
    for (const [size, colorScheme, kind] of [
        [WIDE, 'light', 'wide'],
        [NARROW, 'dark', 'narrow'],
    ]) {
        await page.setViewportSize(size);
        await page.emulateMedia({ colorScheme });
        await page.screenshot({
            path: screenshotPath(`${name}-${kind}`),
            fullPage: true,
        });
        const [needed, there] = await page.evaluate(() => [
            document.documentElement.scrollWidth,
            document.documentElement.clientWidth,
        ]);
        assert.ok(needed <= there, `${name}: ${needed} px do not fit into ${there}`);
        assert.equal(await page.locator('script').count(), 0);
        await page.evaluate(axe.source);
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        const found = violations.map((it) => `${it.id}: ${it.nodes.map((at) => at.html).join(' ')}`);
        assert.deepEqual(found, [], `${name}, ${kind}`);
    }
    await page.setViewportSize(WIDE);
    await page.emulateMedia({ colorScheme: 'light' });
}

// The headers of every answer of ours to which a browser navigates.
export function watchHeaders(context, origin) {
    const problems = [];
    context.on('response', (response) => {
        if (!response.url().startsWith(origin) || !response.request().isNavigationRequest()) return;
        const headers = response.headers();
        const policy = headers['content-security-policy'] ?? '';
        // The reference is the same for everybody, and has no privileges of this origin.
        const isReference = response.url() === `${origin}/docs`;
        const keeps = isReference ? 'public, max-age=3600' : 'no-store';
        const right =
            (!isReference || policy.includes('sandbox allow-scripts;')) &&
            policy.includes("frame-ancestors 'none'") &&
            headers['x-frame-options'] === 'DENY' &&
            headers['cache-control'] === keeps &&
            headers['referrer-policy'] === 'no-referrer' &&
            headers['x-content-type-options'] === 'nosniff';
        if (!right) problems.push(`${response.status()} ${response.url()}`);
    });
    return problems;
}
