// The home page, and the pages that say what went wrong.
import assert from 'node:assert/strict';
import { App } from './app.mjs';
import { look } from './looks.mjs';

const heading = (page, name) => page.getByRole('heading', { level: 1, name }).waitFor();

async function home(origin, context) {
    const page = await context.newPage();
    await page.goto(origin);
    await heading(page, 'Your notes, for the assistant of your choice');
    const text = await page.locator('main').innerText();
    assert.ok(text.includes(`claude mcp add --transport http notes ${origin}/mcp`), text);
    const cursor = await page.getByRole('link', { name: 'Add to Cursor' }).getAttribute('href');
    const config = new URL(cursor).searchParams.get('config');
    assert.equal(JSON.parse(atob(config)).url, `${origin}/mcp`);
    const vscode = await page.getByRole('link', { name: 'Add to VS Code' }).getAttribute('href');
    assert.ok(decodeURIComponent(vscode).includes(`${origin}/mcp`), vscode);
    return page;
}

const withGitHub = {
    async 'the home page says how to connect'({ origin, person }) {
        const page = await home(origin, await person('ada'));
        assert.ok((await page.locator('main').innerText()).includes('you sign in with GitHub'));
        await look(page, 'home');
    },

    async 'whoever may not come in reads why'({ origin, person }) {
        const app = await App.register(origin);
        const begun = app.begin();
        const page = await (await person('mallory')).newPage();
        await page.goto(begun.url);
        const answered = page.waitForResponse((it) => it.url().includes('/oauth/github/callback'));
        await page.getByRole('button', { name: 'Approve' }).click();
        assert.equal((await answered).status(), 403);
        await heading(page, 'You may not use this server');
        assert.ok((await page.locator('main').innerText()).includes('signed in as mallory'));
        await look(page, 'refused');
        await page.getByRole('link', { name: 'Go back to the app' }).click();
        await page.waitForURL((url) => url.pathname === '/callback');
        assert.equal(app.answer(begun).get('error'), 'access_denied');
        app.close();
    },

    async 'every way to fail has a page of its own'({ origin, person }) {
        const app = await App.register(origin);
        const context = await person('ada');
        const page = await context.newPage();
        const fails = async (name, url, status, title) => {
            const response = await page.goto(url);
            assert.equal(response.status(), status, name);
            await heading(page, title);
            assert.match(await page.locator('footer').innerText(), /[0-9a-f]{32}/, name);
            await look(page, name);
        };
        const unknown = app.begin({ client_id: 'nobody' }).url;
        await fails('unknown-app', unknown, 400, 'This app is not known here');
        const elsewhere = app.begin({ redirect_uri: 'https://evil.example/callback' }).url;
        const strange = 'This app\'s redirect address is not registered';
        await fails('strange-place', elsewhere, 400, strange);
        await fails('broken-link', `${origin}/oauth/github/callback`, 400, 'This link is broken');

        const mine = await context.newPage();
        await mine.goto(app.begin().url);
        const elsewhereToo = await (await person('grace')).newPage();
        const response = await elsewhereToo.goto(mine.url());
        assert.equal(response.status(), 403);
        await heading(elsewhereToo, 'Not the browser where you started');
        await look(elsewhereToo, 'other-browser');
        await mine.getByRole('button', { name: 'Approve' }).click();
        await mine.waitForURL((url) => url.pathname === '/callback');
        app.close();
    },

    async 'an app that makes a mistake is told, or the person is'({ origin, person }) {
        const page = await (await person('ada')).newPage();
        const onWeb = await App.register(origin, { redirectUri: 'https://app.example/callback' });
        await page.goto(onWeb.begin({ response_type: 'token' }).url);
        await heading(page, 'This app made a mistake');
        await look(page, 'mistake');
        const here = await App.register(origin);
        const begun = here.begin({ response_type: 'token' });
        await page.goto(begun.url);
        assert.equal(here.answer(begun).get('error'), 'unsupported_response_type');
        onWeb.close();
        here.close();
    },

    async 'the endpoints are described without anything from elsewhere'({ origin, person }) {
        const context = await person('ada');
        const page = await context.newPage();
        const answers = [];
        page.on('response', (it) => answers.push(it.url()));
        const response = await page.goto(`${origin}/docs`, { waitUntil: 'networkidle' });
        assert.equal(response.status(), 200);
        await page.getByRole('heading', { level: 1, name: 'notes-mcp' }).waitFor();
        assert.deepEqual(answers.filter((it) => !it.startsWith(origin)), []);
    },
};

const embedded = {
    async 'the home page of one’s own machine says how to connect'({ origin, person }) {
        const page = await home(origin, await person('nobody'));
        const text = await page.locator('main').innerText();
        assert.ok(text.includes('you enter the name of the user whose notes it gets'), text);
        assert.ok(text.includes('mcp-remote'), text);
        await look(page, 'home-embedded');
    },
};

export const pages = { withGitHub, embedded };
