// People who use their notes for a while, each with a client of their own.
import { setTimeout as sleep } from 'node:timers/promises';
import { signIn } from '../person.mjs';
import { App } from './app.mjs';
import { openClient } from './views.mjs';

const PEOPLE = [
    'ada', 'grace', 'linus', 'barbara', 'dorothy', 'edsger',
    'frances', 'hedy', 'joan', 'katherine', 'margaret', 'radia',
];
// Between two calls of a person, on average, in ms: fewer calls than the rate limit allows.
const PAUSE = 700;
// From one person's first call to the next person's, in ms.
const ARRIVAL = 4000;
const WORDS = ['tea', 'bread', 'garden', 'work', 'music', 'travel'];

const one = (all) => all[Math.floor(Math.random() * all.length)];

const text = () => `${one(WORDS)}, ${one(WORDS)}. `.repeat(40);

const note = () => ({ title: `About ${one(WORDS)}`, body: text(), tags: [one(WORDS)] });

const leaves = (count) => Array.from({ length: count }, (_, index) => ({ title: `Leaf ${index}`, body: text() }));

// What a person does, and how often, relative to the others. `ids` are those of their notes.
const HABITS = [
    [6, ({ call }) => call('notes_list')],
    [6, ({ call }) => call('notes_search', { query: one(WORDS) })],
    [6, ({ call, ids }) => call('notes_get', { id: one(ids) })],
    [4, async ({ call, ids }) => ids.push((await call('notes_create', note())).structuredContent.id)],
    [3, ({ call, ids }) => call('notes_update', { id: one(ids), body: text() })],
    [2, ({ call }) => call('notes_stats')],
    [1, ({ call, ids }) => (ids.length > 1 ? call('notes_delete', { id: ids.pop() }) : undefined)],
    // A note that is not there: an error of the tool.
    [1, ({ call }) => call('notes_get', { id: crypto.randomUUID() })],
    [1, ({ client }) => client.listTools()],
    [1, ({ client }) => client.listResources()],
    // These run as jobs.
    [1, ({ call }) => call('notes_export', { format: 'json' })],
    [0.3, ({ call }) => call('notes_import', { text: JSON.stringify(leaves(300)), on_conflict: 'skip' })],
    [2, async (person) => (person.tokens = await person.app.refresh(person.tokens))],
].flatMap(([weight, act]) => Array(Math.round(weight * 10)).fill(act));

// Uses the server until `end`, a time in ms.
async function use(origin, name, mode, end) {
    const app = await App.register(origin, { name: 'Claude Code' });
    const begun = app.begin();
    await fetch(await signIn(begun.url, name));
    const tokens = await app.tokens(begun);
    const client = await openClient(origin, tokens.access_token, { mode, capabilities: { elicitation: {} } });
    client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: { confirm: true } }));
    const call = (tool, input = {}) => client.callTool({ name: tool, arguments: input });
    const person = { app, tokens, client, call, ids: [] };
    const created = await call('notes_create', note());
    person.ids.push(created.structuredContent.id);
    while (Date.now() < end) {
        await one(HABITS)(person);
        await sleep(-PAUSE * Math.log(1 - Math.random()));
    }
    await client.close();
    app.close();
}

// Lets people come one after the other, in both protocol eras in turn, and use the server until `end`.
export async function makeTraffic(origin, end) {
    await Promise.all(
        PEOPLE.map(async (name, index) => {
            await sleep(index * ARRIVAL);
            await use(origin, name, index % 2 ? 'legacy' : 'auto', end);
        }),
    );
}
