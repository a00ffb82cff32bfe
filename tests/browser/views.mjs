// The views of the tools in the official host bridge: what a person does with them in the
// conversation, and what a hostile note cannot do. The host's client is the official one; its requests
// reach two instances in turn, and a worker runs the jobs.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import axe from 'axe-core';
import assert from 'node:assert/strict';
import { App } from './app.mjs';
import { screenshotPath } from './looks.mjs';
import { ViewHost } from './view_host.mjs';

const MIME_TYPE = 'text/html;profile=mcp-app';
const CAPABILITIES = { extensions: { 'io.modelcontextprotocol/ui': { mimeTypes: [MIME_TYPE] } } };

const button = (view, name) => view.getByRole('button', { name, exact: true });

// A client with an access token, in the era that `mode` chooses.
export async function openClient(origin, token, { mode, capabilities = CAPABILITIES }) {
    const client = new Client(
        { name: 'host', version: '1' },
        { capabilities, versionNegotiation: { mode } },
    );
    const headers = { authorization: `Bearer ${token}` };
    const transport = new StreamableHTTPClientTransport(new URL(`${origin}/mcp`), {
        requestInit: { headers },
    });
    await client.connect(transport);
    return client;
}

// A host that is connected for a person, in the era that `mode` chooses.
export async function connect(origin, context, mode = 'auto') {
    const app = await App.register(origin, { name: 'Host' });
    const begun = app.begin();
    const consent = await context.newPage();
    await consent.goto(begun.url);
    await button(consent, 'Approve').click();
    await consent.waitForURL((url) => url.pathname === '/callback');
    const token = await app.redeem(begun);
    await consent.close();
    app.close();

    const client = await openClient(origin, token, { mode });
    const { tools } = await client.listTools();
    const host = await ViewHost.start();
    const call = (name, input = {}) => client.callTool({ name, arguments: input });

    return {
        client,
        tools,
        call,
        // The structured result of a call that succeeds.
        async output(name, input) {
            const result = await call(name, input);
            assert.ok(!result.isError, JSON.stringify(result.content));
            return result.structuredContent;
        },
        // Opens the view of a tool, with the input of a call, as a host does before the result is there.
        async view(name, input, options = {}) {
            const tool = tools.find((it) => it.name === name);
            const { resourceUri } = tool._meta.ui;
            const { contents } = await client.readResource({ uri: resourceUri });
            assert.equal(contents[0].mimeType, MIME_TYPE);
            const opened = await host.open(context, {
                html: contents[0].text,
                tool,
                // What the specification requires of hosts.
                call(params) {
                    const called = tools.find((it) => it.name === params.name);
                    assert.ok(called, `the view calls ${params.name}, which is not listed`);
                    const { visibility } = called._meta?.ui ?? {};
                    assert.ok(!visibility || visibility.includes('app'));
                    return client.callTool(params);
                },
                ...options,
            });
            await opened.send('sendToolInput', { arguments: input });
            return opened;
        },
        // The same, with the result.
        async result(name, input, options) {
            const opened = await this.view(name, input, options);
            await opened.send('sendToolResult', await call(name, input));
            return opened;
        },
        async close() {
            await client.close();
            host.server.close();
            host.server.closeAllConnections();
        },
    };
}

const LOOKS = [
    [{ width: 760, height: 1400 }, 'light', 'wide'],
    // The narrowest phones that are still around.
    [{ width: 360, height: 1400 }, 'dark', 'narrow'],
];

// Looks at a view as it is now: it fits, and axe finds nothing. The theme comes from the host.
async function look({ page, view, send, problems }, name) {
    for (const [size, theme, kind] of LOOKS) {
        await page.setViewportSize(size);
        await send('sendHostContextChange', { theme });
        await view.waitForFunction((it) => document.documentElement.dataset.theme === it, theme);
        await page.locator('iframe').screenshot({ path: screenshotPath(`view-${name}-${kind}`) });
        const [needed, there] = await view.evaluate(() => [
            document.documentElement.scrollWidth,
            document.documentElement.clientWidth,
        ]);
        assert.ok(needed <= there, `${name}: ${needed} px do not fit into ${there}`);
        await view.evaluate(axe.source);
        const { violations } = await view.evaluate(() => globalThis.axe.run());
        const found = violations.map((it) => `${it.id}: ${it.nodes.map((at) => at.html).join(' ')}`);
        assert.deepEqual(found, [], `${name}, ${kind}`);
    }
    assert.deepEqual(problems, [], name);
}

const called = ({ records }, name) => records.filter((it) => it.called === name);

// A text that tries everything, as long as a note may be.
const HOSTILE = [
    '<script>parent.postMessage("stolen", "*"); globalThis.harmed = true</script>',
    '<img src=x onerror="globalThis.harmed = true"> <iframe src="https://evil.example"></iframe>',
    '[click](javascript:globalThis.harmed=true) [data](data:text/html,<script>alert(1)</script>)',
    '![pixel](https://evil.example/pixel.png) [ok](https://example.com/ok)',
    '<javascript:globalThis.harmed=true> javascript:alert(1)',
    '</script></style><svg onload="globalThis.harmed = true">',
    '`</code><b>` **<i onclick=alert(1)>** | </td><script>alert(1)</script> |',
    'שלום \u202Eevil\u202C **עולם** [קישור](https://example.com/rtl)',
    `a|b\n-|-\n${'|'.repeat(20_000)}`,
    '# '.repeat(300) + '> '.repeat(300) + '- '.repeat(300) + '['.repeat(5000) + '*'.repeat(5001),
].join('\n\n');

export const views = {
    async 'a person searches, filters and opens notes in the conversation'({ origin, person }) {
        const host = await connect(origin, await person('barbara'));
        for (const [title, tags] of [['Green tea', ['tea']], ['Bread', ['kitchen']], ['Black tea', ['tea', 'kitchen']]]) {
            await host.output('notes_create', { title, body: `# How\n\nAll about *${title}*.`, tags });
        }
        const board = await host.result('notes_list', {});
        const { view } = board;
        await view.getByText('3 notes').waitFor();
        await look(board, 'board');

        await button(view, 'kitchen').click();
        await view.getByText('2 notes with the tag “kitchen”').waitFor();
        assert.equal(await button(view, 'kitchen').getAttribute('aria-pressed'), 'true');
        assert.deepEqual(called(board, 'notes_list').at(-1).arguments, { tag: 'kitchen' });

        await view.getByPlaceholder('Search notes').fill('black');
        await board.page.keyboard.press('Enter');
        await view.getByText('1 note for “black”').waitFor();
        await look(board, 'board-search');

        // With the keyboard, and back to where it began.
        await button(view, 'Black tea').focus();
        await board.page.keyboard.press('Enter');
        await view.getByRole('heading', { name: 'Black tea', level: 1 }).waitFor();
        assert.equal(await view.locator('em').innerText(), 'Black tea');
        await look(board, 'board-note');
        await button(view, '← Back').click();
        await view.getByText('1 note for “black”').waitFor();
        assert.equal(await view.evaluate(() => document.activeElement.textContent), 'Black tea');
        await host.close();
    },

    async 'a person changes a note and deletes it'({ origin, person }) {
        const host = await connect(origin, await person('dorothy'), 'legacy');
        const created = await host.output('notes_create', { title: 'Old', body: 'Text', tags: [] });
        const note = await host.result('notes_get', { id: created.id });
        const { view } = note;
        await button(view, 'Edit').click();
        await look(note, 'note-edit');
        await view.getByLabel('Title').fill('New');
        await view.getByLabel('Tags').fill('one, two');
        await button(view, 'Save').click();
        await view.getByRole('heading', { name: 'New' }).waitFor();
        const changed = await host.output('notes_get', { id: created.id });
        assert.deepEqual([changed.title, changed.body, changed.tags], ['New', 'Text', ['one', 'two']]);

        // A change elsewhere is not overwritten unnoticed.
        await button(view, 'Edit').click();
        await view.getByLabel('Text').fill('Mine');
        await host.output('notes_update', { id: created.id, body: 'Theirs' });
        await button(view, 'Save').click();
        await view.getByText('This note was changed elsewhere').waitFor();
        await look(note, 'note-conflict');
        await button(view, 'Discard mine').click();
        await view.getByText('Theirs').waitFor();

        await button(view, 'Delete').click();
        await look(note, 'note-delete');
        await note.page.keyboard.press('Escape');
        assert.equal(await button(view, 'Delete permanently').count(), 0);
        await button(view, 'Delete').click();
        await button(view, 'Delete permanently').click();
        await view.getByText('“New” is deleted.').waitFor();
        const gone = await host.call('notes_get', { id: created.id });
        assert.ok(gone.isError);
        const told = note.records.filter((it) => it.told).map((it) => it.told);
        assert.equal(told.length, 2, 'the model hears of both changes');
        assert.match(told[1], /deleted the note “New”/);
        await host.close();
    },

    async 'an import shows its progress, and ends when it is cancelled'({ origin, person }) {
        const host = await connect(origin, await person('edsger'));
        const document = (word, count) =>
            Array.from({ length: count }, (_, index) => `# ${word} ${index}\n\n${word.repeat(20)}\n`).join(
                '<!-- notes-mcp: next note -->\n',
            );
        const input = { text: document('Leaf', 12_000), on_conflict: 'skip' };
        const running = await host.view('notes_import', input);
        // The host waits for the result; the view looks at the job meanwhile.
        const result = host.call('notes_import', input);
        const bar = running.view.getByRole('progressbar');
        await running.view.waitForFunction(() => {
            const it = document.querySelector('progress');
            return it && it.position > 0 && it.position < 1;
        });
        const first = await bar.evaluate((it) => it.value);
        await look(running, 'import-running');
        await running.view.waitForFunction((from) => !(document.querySelector('progress')?.value <= from), first);
        await running.send('sendToolResult', await result);
        await running.view.getByRole('heading', { name: 'Notes imported' }).waitFor();
        await running.view.getByText('12,000').first().waitFor();
        await look(running, 'import');

        const other = { text: document('Stone', 20_000), on_conflict: 'replace' };
        const second = await host.view('notes_import', other);
        const ended = host.call('notes_import', other).catch((error) => error);
        await button(second.view, 'Cancel').click();
        await second.view.getByRole('heading', { name: 'Cancelled' }).waitFor();
        await ended;
        await look(second, 'import-cancelled');
        const { jobs } = await host.output('jobs_list');
        assert.equal(jobs[0].status, 'cancelled');

        const stats = await host.result('notes_stats', {});
        await stats.view.getByRole('heading', { level: 1, name: /[0-9,]+ notes/ }).waitFor();
        await look(stats, 'stats');
        await host.close();
    },

    async 'an export is downloaded through the host'({ origin, person }) {
        const host = await connect(origin, await person('frances'));
        await host.output('notes_create', { title: 'Tea', body: 'Green', tags: ['tea'] });
        const exported = await host.result('notes_export', { format: 'json' });
        await button(exported.view, 'Download').click();
        await look(exported, 'export');
        const [{ opened }] = exported.records.filter((it) => it.opened);
        const file = await (await fetch(opened)).json();
        assert.match(JSON.stringify(file), /Green/);

        const stats = await host.result('notes_stats', {});
        await stats.view.getByRole('row', { name: 'tea 1' }).waitFor();
        assert.equal(await stats.view.getByRole('row').count(), 1 + 26 + 1, 'a header, the weeks and a tag');
        await look(stats, 'stats-few');
        await host.close();
    },

    async 'the view takes the theme of its host'({ origin, person }) {
        const host = await connect(origin, await person('hedy'));
        const variables = { '--color-background-primary': 'light-dark(rgb(1, 2, 3), rgb(4, 5, 6))' };
        const board = await host.result('notes_list', {}, { variables });
        const background = () => board.view.evaluate(() => getComputedStyle(document.body).backgroundColor);
        assert.equal(await background(), 'rgb(1, 2, 3)');
        await board.send('sendHostContextChange', { theme: 'dark' });
        await board.view.waitForFunction(() => document.documentElement.dataset.theme === 'dark');
        assert.equal(await background(), 'rgb(4, 5, 6)');
        // The frame is as high as the view.
        const [frame, body] = [
            await board.page.locator('iframe').evaluate((it) => it.clientHeight),
            await board.view.evaluate(() => Math.ceil(document.body.getBoundingClientRect().height)),
        ];
        assert.equal(frame, body);
        await board.page.evaluate(() => globalThis.bridge.teardownResource({}));
        await host.close();
    },

    async 'a hostile note harms nothing'({ origin, person }) {
        const host = await connect(origin, await person('joan'));
        const body = HOSTILE + '\n' + 'x '.repeat((100_000 - HOSTILE.length - 1) / 2);
        const title = '<script>globalThis.harmed=true</script>\u202E שלום';
        const created = await host.output('notes_create', { title, body, tags: ['<b>', 'עברית'] });
        const note = await host.result('notes_get', { id: created.id });
        const { view } = note;
        await view.getByText('javascript:alert(1)').first().waitFor();
        for (const link of ['click', 'data']) await view.getByText(link, { exact: true }).first().click();
        await view.getByRole('link', { name: 'ok', exact: true }).click();
        await look(note, 'hostile');

        const hrefs = await view.locator('a').evaluateAll((all) => all.map((it) => it.getAttribute('href')));
        assert.ok(hrefs.length >= 3);
        for (const href of hrefs) assert.match(href, /^(https?|mailto):/);
        assert.deepEqual(note.records.filter((it) => it.opened), [{ opened: 'https://example.com/ok' }]);
        const elements = 'script, img, iframe, svg, object, embed, link, base, form';
        const inMain = view.locator('main').locator(elements);
        assert.equal(await inMain.count(), 0);
        assert.equal(await view.evaluate(() => globalThis.harmed), undefined);
        assert.equal(await note.page.evaluate(() => globalThis.harmed), undefined);

        const board = await host.result('notes_list', {});
        await board.view.getByText('<script>').first().waitFor();
        await look(board, 'hostile-board');
        assert.equal(await board.view.locator('main').locator(elements).count(), 0);
        await host.close();
    },
};
