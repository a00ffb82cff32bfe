// What a client does with the server, told once for both TypeScript SDKs. `client` has their common
// methods; `on.elicit` and `on.sample` are what the test wants its handlers to answer.
import assert from 'node:assert/strict';

const ok = (step) => console.log(`ok ${step}`);

export async function tellStory(client, on, options) {
    const call = async (name, args, more) => {
        const result = await client.callTool({ name, arguments: args }, ...options(more));
        assert.ok(!result.isError, JSON.stringify(result.content));
        return result.structuredContent;
    };

    const { tools } = await client.listTools();
    const names = tools.map((tool) => tool.name);
    assert.ok(names.includes('notes_create') && names.includes('notes_delete'), names.join());
    ok('lists');

    const note = await call('notes_create', { title: 'Groceries', body: 'Milk, bread' });
    assert.match(note.id, /^[0-9a-f-]{36}$/);
    ok('creates');

    assert.equal((await call('notes_get', { id: note.id })).body, 'Milk, bread');
    ok('reads');

    const { contents } = await client.readResource({ uri: `notes://by-id/${note.id}` });
    assert.match(contents[0].text, /Milk, bread/);
    ok('resource');

    const progress = [];
    on.sample = () => 'Buy milk and bread.';
    const summary = await call('notes_summarize', { ids: [note.id] }, {
        onprogress: (it) => progress.push(it.progress),
    });
    assert.ok(progress.length > 0, 'no progress arrived');
    assert.deepEqual(progress, progress.toSorted((a, b) => a - b), 'progress goes forward');
    ok('progress');
    assert.match(JSON.stringify(summary), /Buy milk and bread/);
    ok('sampling');

    on.elicit = () => ({ action: 'decline' });
    await client.callTool({ name: 'notes_delete', arguments: { id: note.id } }, ...options());
    assert.equal((await call('notes_get', { id: note.id })).title, 'Groceries');
    ok('declines');

    const asked = [];
    on.elicit = (request) => {
        asked.push(request.params.message);
        return { action: 'accept', content: { confirm: true } };
    };
    await call('notes_delete', { id: note.id });
    assert.match(asked.join(), /Groceries/);
    const gone = await client.callTool({ name: 'notes_get', arguments: { id: note.id } }, ...options());
    assert.ok(gone.isError, 'the note is still there');
    ok('deletes');
}

export const transportOptions = {
    requestInit: { headers: { Authorization: `Bearer ${process.env.MCP_TOKEN}` } },
};
export const identity = { name: 'interop', version: '1.0.0' };
export const capabilities = { sampling: {}, elicitation: {} };

export const sampled = (text) => ({
    role: 'assistant',
    model: 'a model of the test',
    content: { type: 'text', text },
    stopReason: 'endTurn',
});
