// The page on which a person decides, and what happens around it.
import assert from 'node:assert/strict';
import { startServer } from '../program.mjs';
import { App } from './app.mjs';
import { look } from './looks.mjs';

const HEADING = /^Connect .* to your notes\?$/;

const button = (page, name) => page.getByRole('button', { name, exact: true });

async function open(context, url) {
    const page = await context.newPage();
    await page.goto(url);
    return page;
}

async function asks(page) {
    await page.getByRole('heading', { level: 1, name: HEADING }).waitFor();
}

async function isBack(page) {
    await page.waitForURL((url) => url.pathname === '/callback');
}

// What is focused, and whether one can see that it is.
function focus(page) {
    return page.evaluate(() => {
        const it = document.activeElement;
        const { outlineStyle, outlineWidth } = getComputedStyle(it);
        return {
            name: it.textContent.trim(),
            visible: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2,
        };
    });
}

const withGitHub = {
    async 'an approval connects the app'({ origin, person }) {
        const app = await App.register(origin);
        const begun = app.begin();
        const page = await open(await person('ada'), begun.url);
        await asks(page);
        const text = await page.locator('main').innerText();
        for (const words of [
            'Connect Example App to your notes?',
            'This server has not checked it',
            'this computer',
            'Read your notes',
            'Create, change and delete your notes',
            new URL(origin).host,
        ]) {
            assert.ok(text.includes(words), `“${words}” is missing:\n${text}`);
        }
        await look(page, 'consent');
        await button(page, 'Approve').click();
        await isBack(page);
        const token = await app.redeem(begun);
        const note = await app.call(token, 'notes_create', { title: 'Tea', body: 'Green' });
        assert.equal(note.title, 'Tea');
        app.close();
    },

    async 'a denial is told to the app, and going back does not undo it'({ origin, person }) {
        const app = await App.register(origin);
        const begun = app.begin();
        const page = await open(await person('ada'), begun.url);
        await asks(page);
        await button(page, 'Deny').click();
        await isBack(page);
        assert.equal(app.answer(begun).get('error'), 'access_denied');
        await page.goBack();
        await page.getByRole('heading', { name: 'This sign-in is over' }).waitFor();
        await look(page, 'over');
        app.close();
    },

    async 'two flows in two tabs finish in any order'({ origin, person }) {
        const apps = [await App.register(origin), await App.register(origin, { name: 'Other App' })];
        const begun = apps.map((app) => app.begin());
        const context = await person('ada');
        const pages = [];
        for (const it of begun) pages.push(await open(context, it.url));
        for (const index of [1, 0]) {
            await button(pages[index], 'Approve').click();
            await isBack(pages[index]);
            assert.ok(await apps[index].redeem(begun[index]));
        }
        for (const app of apps) app.close();
    },

    async 'reloading leaves the form that somebody looks at good'({ origin, person }) {
        const app = await App.register(origin);
        const begun = app.begin();
        const context = await person('ada');
        const first = await open(context, begun.url);
        const second = await open(context, first.url());
        for (let times = 0; times < 3; times++) await second.reload();
        await asks(second);
        await button(first, 'Approve').click();
        await isBack(first);
        assert.ok(await app.redeem(begun));
        await button(second, 'Approve').click();
        await second.getByRole('heading', { name: 'This sign-in is over' }).waitFor();
        app.close();
    },

    async 'going back before the decision and forward again changes nothing'({ origin, person }) {
        const app = await App.register(origin);
        const begun = app.begin();
        const page = await open(await person('ada'), begun.url);
        await asks(page);
        await page.getByRole('link', { name: 'account page' }).click();
        await page.getByRole('heading', { name: 'Your account' }).waitFor();
        await page.goBack();
        await asks(page);
        await page.goForward();
        await page.goBack();
        await button(page, 'Approve').click();
        await isBack(page);
        assert.ok(await app.redeem(begun));
        app.close();
    },

    async 'the keyboard is enough'({ origin, person }) {
        const app = await App.register(origin);
        for (const [decision, expected] of [
            ['Deny', 'error'],
            ['Approve', 'code'],
        ]) {
            const begun = app.begin();
            const page = await open(await person('ada'), begun.url);
            await asks(page);
            const order = [];
            // Once around the page: there is little on it.
            for (let times = 0; times < 4; times++) {
                await page.keyboard.press('Tab');
                const { name, visible } = await focus(page);
                assert.ok(visible, `one cannot see that “${name}” is focused`);
                order.push(name);
            }
            assert.deepEqual(order, ['notes-mcp', 'account page', 'Approve', 'Deny']);
            if (decision === 'Approve') await page.keyboard.press('Shift+Tab');
            await page.keyboard.press('Enter');
            await isBack(page);
            assert.ok(app.answer(begun).has(expected));
        }
        app.close();
    },

    async 'an app that does not say what it needs leaves the choice to the person'({ origin, person }) {
        const app = await App.register(origin);
        for (const [check, scope] of [
            [false, 'notes:read'],
            [true, 'notes:read notes:write'],
        ]) {
            const begun = app.begin({ scope: 'openid' });
            const page = await open(await person('ada'), begun.url);
            await asks(page);
            const group = page.getByRole('group', { name: 'You can also allow it to' });
            const box = group.getByRole('checkbox', { name: /^Create, change and delete/ });
            assert.equal(await box.isChecked(), false);
            if (check) {
                // The words are part of the box, and the keyboard reaches it.
                await group.getByText('Create, change and delete').click();
                assert.equal(await box.isChecked(), true);
                await page.keyboard.press('Space');
                assert.equal(await box.isChecked(), false);
                await page.keyboard.press('Space');
            }
            await look(page, `consent-choice-${check ? 'taken' : 'open'}`);
            await button(page, 'Approve').click();
            await isBack(page);
            assert.equal((await app.tokens(begun)).scope, scope);
        }
        app.close();
    },

    async 'scripts are not needed'({ origin, person }) {
        const app = await App.register(origin);
        const begun = app.begin();
        const page = await open(await person('ada', { javaScriptEnabled: false }), begun.url);
        await asks(page);
        await button(page, 'Approve').click();
        await isBack(page);
        assert.ok(await app.redeem(begun));
        app.close();
    },

    async 'a window that an app has opened and watches is not closed for it'({ origin, person }) {
        const app = await App.register(origin);
        const begun = app.begin();
        app.html = `<!doctype html><title>App</title><button>Connect</button><script>
            let heard = [];
            addEventListener('message', ({ data }) => heard.push(data));
            document.querySelector('button').onclick = () => {
                watched = open(${JSON.stringify(begun.url)}, 'popup', 'popup,width=600,height=800');
            };
        </script>`;
        const context = await person('ada');
        const page = await open(context, app.origin);
        const opened = page.waitForEvent('popup');
        await page.getByRole('button').click();
        const popup = await opened;
        await asks(popup);
        assert.equal(await page.evaluate('watched.closed'), false, 'it seems to be closed');
        await button(popup, 'Approve').click();
        await isBack(popup);
        await page.waitForFunction('heard.includes("back")');
        assert.equal(await page.evaluate('watched.closed'), false);
        await popup.close();
        await page.waitForFunction('watched.closed');
        assert.ok(await app.redeem(begun));
        app.close();
    },

    async 'an app on the web gets its answer there'({ origin, person }) {
        const app = await App.register(origin, { redirectUri: 'https://app.example/callback' });
        const context = await person('ada');
        await context.route('https://app.example/**', (route) =>
            route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>App</title>' }),
        );
        const page = await open(context, app.begin().url);
        await asks(page);
        assert.ok((await page.locator('.box').innerText()).includes('app.example'));
        await look(page, 'consent-web');
        await button(page, 'Approve').click();
        await page.waitForURL('https://app.example/callback?**');
        assert.ok(new URL(page.url()).searchParams.get('code'));
        app.close();
    },

    async 'an app on this device is opened by its scheme'({ origin, person }) {
        for (const scheme of ['cursor', 'claude', 'vscode']) {
            const app = await App.register(origin, { redirectUri: `${scheme}://notes/callback` });
            const page = await open(await person('ada'), app.begin().url);
            await asks(page);
            if (scheme === 'cursor') await look(page, 'consent-scheme');
            // No such app is here. But the browser asks for one, so no policy stood in the way, as a
            // `form-action` would have.
            const launch = page.waitForRequest((it) => it.url().startsWith(scheme));
            await button(page, 'Approve').click();
            assert.match((await launch).url(), /^\w+:\/\/notes\/callback\?code=/);
            app.close();
        }
    },

    async 'a name cannot pretend to be the page'({ origin, person }) {
        const name = '<b>Notes</b></title>\u202e evil" onload="x ' + 'long '.repeat(40);
        const app = await App.register(origin, { name: name.slice(0, 200) });
        const page = await open(await person('ada'), app.begin().url);
        await asks(page);
        assert.equal(await page.locator('main b').count(), 0);
        assert.ok(!(await page.title()).includes('\u202e'));
        await look(page, 'consent-name');
        app.close();
    },

    async 'nobody can put a page into theirs'({ origin, person }) {
        const app = await App.register(origin);
        const context = await person('ada');
        const consent = await open(context, app.begin().url);
        await asks(consent);
        for (const url of [consent.url(), `${origin}/`, `${origin}/account`, `${origin}/consent`]) {
            app.html = `<!doctype html><title>Trap</title><iframe src="${url}"></iframe>`;
            const trap = await context.newPage();
            const refused = trap.waitForEvent('requestfailed', (it) => it.url() === url);
            await trap.goto(app.origin);
            assert.match((await refused).failure().errorText, /ERR_BLOCKED_BY_RESPONSE/);
            const [, frame] = trap.frames();
            await frame.waitForURL('chrome-error://**');
            assert.equal(await frame.getByText('notes-mcp').count(), 0, `${url} is framed`);
            await trap.close();
        }
        app.close();
    },
};

const embedded = {
    async 'without GitHub a page asks for a name'({ origin, person }) {
        const app = await App.register(origin);
        const begun = app.begin();
        const page = await open(await person('nobody'), begun.url);
        await asks(page);
        await button(page, 'Approve').click();
        await page.getByRole('heading', { name: /^Whose notes should Example App see/ }).waitFor();
        assert.ok((await page.locator('main').innerText()).includes('There is no password'));
        await look(page, 'sign-in');

        const field = page.getByLabel('Name');
        await field.fill('no spaces, please');
        await field.press('Enter');
        await page.getByText('That name cannot be used.').waitFor();
        await look(page, 'sign-in-refused');

        // Back to the decision, which has been taken, and forward again.
        await page.goBack();
        await page.goBack();
        await page.getByRole('heading', { name: 'This sign-in is over' }).waitFor();
        await page.goForward();
        await field.fill('ada');
        await button(page, 'Continue').click();
        await isBack(page);
        const token = await app.redeem(begun);
        const note = await app.call(token, 'notes_create', { title: 'Tea', body: 'Green' });
        assert.equal(note.title, 'Tea');
        app.close();
    },
};

const onItsOwn = {
    async 'an app that the operator has set up is called so'({ person }) {
        const app = await App.listen();
        const client = {
            client_id: 'desk',
            client_name: 'Desk',
            redirect_uris: [app.redirectUri],
            scope: 'notes:read',
        };
        const server = await startServer({ OAUTH_CLIENTS: JSON.stringify([client]) });
        try {
            app.knows(server.origin, client.client_id);
            const page = await open(await person('nobody'), app.begin({ scope: 'notes:read' }).url);
            await asks(page);
            const text = await page.locator('main').innerText();
            assert.ok(text.includes('The operator of this server has set this app up.'), text);
            assert.ok(!text.includes('Create, change and delete'), text);
            await look(page, 'consent-operator');
        } finally {
            app.close();
            await server.stop(true);
        }
    },

    async 'whoever comes too often reads what to do'({ person }) {
        const server = await startServer();
        try {
            const page = await (await person('nobody')).newPage();
            let response;
            // More than the share of one network in a minute.
            for (let times = 0; response?.status() !== 429 && times < 100; times++) {
                response = await page.goto(`${server.origin}/account`);
            }
            assert.equal(response.status(), 429);
            assert.ok(Number(response.headers()['retry-after']) > 0);
            await page.getByRole('heading', { name: 'Too many requests' }).waitFor();
            await look(page, 'too-many');
        } finally {
            await server.stop(true);
        }
    },
};

export const consent = { withGitHub, embedded, onItsOwn };
