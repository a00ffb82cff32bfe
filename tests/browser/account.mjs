// The account page: what is connected, and how to end that.
import assert from 'node:assert/strict';
import { App } from './app.mjs';
import { look } from './looks.mjs';

const button = (page, name) => page.getByRole('button', { name, exact: true });

// The connected apps on the account page; the links of the navigation are list items, too.
const listedApps = (page) => page.locator('main > ul').getByRole('listitem');

// Connects a new app and gives it with its access token.
async function connect(origin, context, name) {
    const app = await App.register(origin, { name });
    const begun = app.begin();
    const page = await context.newPage();
    await page.goto(begun.url);
    await button(page, 'Approve').click();
    await page.waitForURL((url) => url.pathname === '/callback');
    const token = await app.redeem(begun);
    await page.close();
    app.close();
    return { app, token, works: () => app.call(token, 'notes_list', {}) };
}

// Another instance may hear of a revocation a moment later; it is bound to.
async function stopsWorking({ works }) {
    const deadline = Date.now() + 60_000;
    while ((await works()) !== 401) assert.ok(Date.now() < deadline, 'the token still works');
}

const MARKDOWN = `## Before

1. Read the **change log**, and [the plan](https://example.com/plan).
2. Run \`./scripts/test\`

> Nothing is urgent.

| step | who |
|---|---|
| tag | Ada |
| publish | Grace |

\`\`\`sh
git tag --sign v1.0 && git push --tags
\`\`\`

<script>alert(1)</script>
`;

const link = (page, name) => page.getByRole('link', { name, exact: true });

async function signIn(origin, context) {
    const page = await context.newPage();
    await page.goto(`${origin}/account`);
    await button(page, 'Sign in with GitHub').click();
    await page.getByRole('heading', { name: 'Connected apps' }).waitFor();
    return page;
}

const withGitHub = {
    async 'a person disconnects one app, then all'({ origin, person }) {
        const context = await person('grace');
        const page = await context.newPage();
        await page.goto(`${origin}/account`);
        await look(page, 'account-out');
        await button(page, 'Sign in with GitHub').click();
        await page.getByText('No app is connected.').waitFor();
        await look(page, 'account-empty');

        const apps = [];
        for (const name of ['Editor', 'Phone', 'Laptop']) {
            apps.push(await connect(origin, context, name));
        }
        await page.reload();
        assert.equal(await listedApps(page).count(), 3);
        await look(page, 'account');

        const phone = page.getByRole('listitem').filter({ hasText: 'Phone' });
        await phone.getByRole('button', { name: /^Disconnect Phone/ }).click();
        await page.getByText('The app is disconnected.').waitFor();
        await look(page, 'account-disconnected');
        assert.equal(await listedApps(page).count(), 2);
        await stopsWorking(apps[1]);
        assert.ok((await apps[0].works()).notes, 'the others go on');

        await button(page, 'Disconnect all').click();
        await page.getByText('All apps are disconnected.').waitFor();
        for (const app of apps) await stopsWorking(app);

        await button(page, 'Sign out').click();
        await page.getByText('You are signed out.').waitFor();
        await page.goto(`${origin}/account/delete`);
        await page.getByRole('heading', { name: 'Your account' }).waitFor();
    },

    async 'an account is deleted only by its name'({ origin, person }) {
        const context = await person('linus');
        const app = await connect(origin, context, 'Editor');
        await app.app.call(app.token, 'notes_create', { title: 'Secret', body: 'Do not keep' });
        const page = await signIn(origin, context);
        await page.getByRole('link', { name: 'Delete account…' }).click();
        await look(page, 'account-delete');
        await page.getByRole('link', { name: 'Keep my account' }).click();
        await page.getByRole('heading', { name: 'Connected apps' }).waitFor();

        await page.getByRole('link', { name: 'Delete account…' }).click();
        const field = page.getByLabel('Type linus to confirm');
        await field.fill('linux');
        await button(page, 'Delete everything').click();
        await page.getByText('Nothing has been deleted.').waitFor();
        await look(page, 'account-delete-refused');
        assert.ok((await app.works()).notes.length, 'the note is still there');

        await field.fill('linus');
        await button(page, 'Delete everything').click();
        await page.getByText('Your account and all your notes are deleted.').waitFor();
        await look(page, 'account-deleted');
        await stopsWorking(app);

        const again = await connect(origin, context, 'Editor');
        assert.deepEqual((await again.works()).notes, []);
    },

    async 'a person reads, searches and deletes notes, and follows their jobs'({ origin, person }) {
        const context = await person('katherine');
        const { app, token } = await connect(origin, context, 'Editor');
        const create = (title, body, tags = []) =>
            app.call(token, 'notes_create', { title, body, tags });
        await create('Release checklist', MARKDOWN, ['work', 'release']);
        await create('Green tea', 'Steep for 2 minutes at 80 °C. '.repeat(12), ['kitchen']);
        const page = await signIn(origin, context);
        await link(page, 'Notes').click();
        await page.getByRole('heading', { name: 'Your notes', exact: true }).waitFor();
        await look(page, 'notes');

        await page.getByLabel('Search').fill('checklist');
        await button(page, 'Search').click();
        await link(page, 'All notes').waitFor();
        assert.equal(await listedApps(page).count(), 1);
        await look(page, 'notes-search');
        await link(page, 'Release checklist').click();
        await page.getByRole('heading', { level: 1, name: 'Release checklist' }).waitFor();
        await look(page, 'note');
        await link(page, 'Delete…').click();
        await look(page, 'note-delete');
        await button(page, 'Delete the note').click();
        await page.getByText('The note is deleted.').waitFor();
        assert.equal(await listedApps(page).count(), 1);

        // A worker runs the job, and the page loads itself again until it has ended.
        await button(page, 'Download all as ZIP').click();
        await page.getByText('The job is started.').waitFor();
        await page.getByText('Finished').waitFor();
        await look(page, 'jobs');

        await link(page, 'Security').click();
        await page.getByText('You connected “Editor”').waitFor();
        await look(page, 'security');
    },

    async 'a form of another page does nothing'({ origin, person }) {
        const context = await person('ada');
        const app = await connect(origin, context, 'Editor');
        const page = await signIn(origin, context);
        const trap = await App.register(origin);
        trap.html = `<!doctype html><title>Trap</title>
            <form method="post" action="${origin}/account">
            <button name="action" value="disconnect_all">Win</button></form>`;
        await page.goto(trap.origin);
        await page.getByRole('button').click();
        await page.getByRole('heading', { name: 'This form cannot be used' }).waitFor();
        await look(page, 'forged');
        assert.ok((await app.works()).notes);
        trap.close();
    },
};

const embedded = {
    async 'a person downloads all notes'({ origin, person }) {
        const page = await (await person('ada')).newPage();
        await page.goto(`${origin}/account`);
        await page.locator('main button').click();
        await page.getByRole('textbox').fill('ada');
        await page.locator('main button').click();
        await link(page, 'Notes').click();
        await button(page, 'Download all as ZIP').click();
        await page.getByText('Finished').waitFor();
        await look(page, 'jobs-file');
        const downloading = page.waitForEvent('download');
        await page.getByRole('link', { name: /^Download notes-/ }).click();
        const file = await downloading;
        assert.match(file.suggestedFilename(), /^notes-.*\.zip$/);
        assert.equal(await file.failure(), null);
    },
};

export const account = { withGitHub, embedded };
