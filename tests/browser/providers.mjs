// The pages of a server with several identity providers.
import assert from 'node:assert/strict';
import { App } from './app.mjs';
import { look } from './looks.mjs';

const button = (page, name) => page.getByRole('button', { name, exact: true });

async function asked(origin, context) {
    const app = await App.register(origin);
    const begun = app.begin();
    const page = await context.newPage();
    await page.goto(begun.url);
    await page.getByRole('heading', { name: 'Connect Example App to your notes?' }).waitFor();
    return { app, begun, page };
}

export const providers = {
    async 'one agrees and chooses where to sign in with one click'({ origin, person }) {
        for (const name of ['GitHub', 'Example Corp']) {
            const { app, begun, page } = await asked(origin, await person('ada'));
            await page.getByRole('heading', { name: 'Approve, and sign in with' }).waitFor();
            await look(page, 'consent-providers');
            await button(page, name).focus();
            await page.keyboard.press('Enter');
            await page.waitForURL((url) => url.pathname === '/callback');
            assert.ok(await app.redeem(begun));
            app.close();
        }
    },

    async 'no is no with several providers'({ origin, person }) {
        const { app, begun, page } = await asked(origin, await person('ada'));
        await button(page, 'Deny').click();
        await page.waitForURL((url) => url.pathname === '/callback');
        assert.equal(app.answer(begun).get('error'), 'access_denied');
        app.close();
    },

    async 'a person of another domain reads which domain may sign in'({ origin, person }) {
        const { app, begun, page } = await asked(origin, await person('ada'));
        await button(page, 'Other').click();
        await page.getByRole('heading', { name: 'You may not use this server' }).waitFor();
        const text = await page.locator('main').innerText();
        assert.ok(text.includes('This server is for accounts of example.org'), text);
        await look(page, 'refused-domain');
        await page.getByRole('link', { name: 'Go back to the app' }).click();
        await page.waitForURL((url) => url.pathname === '/callback');
        assert.equal(app.answer(begun).get('error'), 'access_denied');
        app.close();
    },

    async 'the account page has a button for each provider'({ origin, person }) {
        const context = await person('ada', { javaScriptEnabled: false });
        const page = await context.newPage();
        await page.goto(`${origin}/account`);
        for (const name of ['GitHub', 'Example Corp', 'Other']) {
            await button(page, `Sign in with ${name}`).waitFor();
        }
        await button(page, 'Sign in with Example Corp').click();
        await page.getByRole('heading', { name: 'Connected apps' }).waitFor();
        assert.ok((await page.locator('main').innerText()).includes('ada@example.com'));

        const out = await (await person('grace')).newPage();
        await out.goto(`${origin}/account`);
        await look(out, 'account-providers');
        await out.goto(origin);
        const home = await out.locator('main').innerText();
        assert.ok(home.includes('you sign in with GitHub, Example Corp or Other'), home);
    },
};
