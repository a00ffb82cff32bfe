// The pages for people and the views of the tools, in headless Chromium: what a person does with them,
// with and without a mouse, a wide screen, daylight, and scripts.
//
//   node tests/browser/run.mjs [PART OF A NAME]
//
// Needs a Chromium on the PATH, or CHROMIUM to say where it is. Screenshots of every page are in
// target/test-logs/browser.
import { chromium } from 'playwright-core';
import { startForOthers, startServer } from '../program.mjs';
import { watchHeaders } from './looks.mjs';
import { account } from './account.mjs';
import { findChromium } from './chromium.mjs';
import { consent } from './consent.mjs';
import { pages } from './pages.mjs';
import { providers } from './providers.mjs';
import { views } from './views.mjs';
import { HOST, webClient } from './web_client.mjs';

// Far longer than anything takes, even on a busy machine. A page that does not come is a failure, not
// a hang.
const PATIENCE = 120_000;

const only = process.argv[2] ?? '';
const browser = await chromium.launch({
    executablePath: findChromium(),
    args: [`--host-resolver-rules=MAP ${HOST} 127.0.0.1`],
});
const forOthers = await startForOthers({ allowed: 'ada,grace,linus,barbara,dorothy,edsger,frances,hedy,joan,katherine' });
const several = await startForOthers({ several: true });
const embedded = await startServer();

let passed = 0;
let failed = 0;

// Runs the tests of one file. Each gets a browser that was just installed, of a person who is
// signed in at GitHub.
async function run(place, tests) {
    for (const [name, test] of Object.entries(tests)) {
        if (!name.includes(only)) continue;
        const contexts = [];
        const problems = [];
        const person = async (login, options = {}) => {
            const context = await browser.newContext({ reducedMotion: 'reduce', ...options });
            context.setDefaultTimeout(PATIENCE);
            const { hostname } = new URL(place.origin);
            await context.addCookies([
                { name: 'github-account', value: login, domain: hostname, path: '/' },
            ]);
            problems.push(watchHeaders(context, place.origin));
            contexts.push(context);
            return context;
        };
        try {
            await test({ origin: place.origin, person });
            if (problems.flat().length > 0) throw new Error(`unprotected: ${problems.flat()}`);
            passed += 1;
            console.log(`ok ${name}`);
        } catch (error) {
            failed += 1;
            console.log(`FAILED ${name}\n${error.stack.replace(/^/gm, '    ')}`);
        }
        for (const context of contexts) await context.close();
    }
}

try {
    await run(forOthers, consent.withGitHub);
    await run(forOthers, account.withGitHub);
    await run(forOthers, pages.withGitHub);
    await run(forOthers, views);
    await run(several, providers);
    await run(embedded, consent.embedded);
    await run(embedded, account.embedded);
    await run(embedded, pages.embedded);
    await run(embedded, consent.onItsOwn);
    await run(embedded, webClient);
} finally {
    await browser.close();
    await forOthers.stop();
    await several.stop();
    await embedded.stop(failed === 0);
}
console.log(`total: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
