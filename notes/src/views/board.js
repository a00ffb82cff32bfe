// The view of `notes_list` and `notes_search`: notes as cards, with search and a filter by tag.

// The maximum number of tags to offer as filters.
const MAX_FILTERS = 24;

// What is shown: the notes of a search, or of a list with or without a tag.
const shown = { query: '', tag: '', notes: [], cursor: undefined, more: false };
// The tags of all notes that were shown so far.
const seenTags = new Set();

const message = status('Loading…');
const place = el('div');
const cards = el('ul', { class: 'cards' });
const more = el('button', { type: 'button', hidden: true, onclick: loadMore }, 'More');
const filters = el('div', { class: 'tags', role: 'group', 'aria-label': 'Filter by tag' });
// A host's sandbox may forbid forms, so there is none: a click and the Enter key search.
const query = el('input', {
    type: 'search',
    dir: 'auto',
    placeholder: 'Search notes',
    'aria-label': 'Search notes',
    onkeydown: (event) => event.key === 'Enter' && submit(),
});
const search = el('button', { type: 'button', onclick: submit }, 'Search');
const form = el('div', { role: 'search', class: 'search' }, query, search);

// The number of the latest load. The result of an earlier one is dropped.
let loads = 0;

// The note that was opened, to return the focus to it.
let opened;

function showBoard() {
    show(el('h1', {}, 'Notes'), form, filters, message, place, cards, more);
}

function submit() {
    const words = query.value.trim();
    run(search, place, () => load(words ? { query: words } : {}));
}

// Loads the first page of a search or of a list.
async function load({ query: words = '', tag = '' }) {
    const own = ++loads;
    const result = words
        ? await host.call('notes_search', { query: words })
        : await host.call('notes_list', tag ? { tag } : {});
    if (own !== loads) return;
    Object.assign(shown, { query: words, tag });
    accept(result);
}

function loadMore() {
    run(more, place, async () => {
        const { tag, cursor } = shown;
        const own = ++loads;
        const page = await host.call('notes_list', tag ? { tag, cursor } : { cursor });
        if (own !== loads) return;
        const first = shown.notes.length;
        accept({ ...page, notes: [...shown.notes, ...page.notes] });
        cards.children[first]?.querySelector('button').focus();
    });
}

// Shows the result of `notes_list` or `notes_search`.
function accept({ notes = [], next_cursor: cursor, more: hasMore = false }) {
    Object.assign(shown, { notes, cursor, more: hasMore });
    for (const tag of notes.flatMap((note) => note.tags)) {
        if (seenTags.size < MAX_FILTERS) seenTags.add(tag);
    }
    if (shown.tag) seenTags.add(shown.tag);
    query.value = shown.query;
    cards.replaceChildren(...notes.map(card));
    more.hidden = !cursor;
    message.textContent = summary();
    showFilters();
}

function summary() {
    const { notes, query: words, tag, cursor, more: hasMore } = shown;
    const what = words ? ` for “${words}”` : tag ? ` with the tag “${tag}”` : '';
    if (!notes.length) return words || tag ? `No notes${what}.` : 'There are no notes yet.';
    const rest = cursor ? ', and there are more' : hasMore ? ', best match first; more match' : '';
    return `${counted(notes.length, 'note', 'notes')}${what}${rest}`;
}

function showFilters() {
    const focused = document.activeElement?.dataset?.tag;
    const buttons = [...seenTags].map((tag) => {
        const isPressed = tag === shown.tag;
        const onclick = (event) => run(event.currentTarget, place, () => load(isPressed ? {} : { tag }));
        const attributes = { type: 'button', class: 'tag', 'data-tag': tag, 'aria-pressed': `${isPressed}`, onclick };
        return el('button', attributes, el('bdi', {}, tag));
    });
    filters.replaceChildren(...buttons);
    filters.hidden = !buttons.length;
    if (focused !== undefined) buttons.find((button) => button.dataset.tag === focused)?.focus();
}

function card(note) {
    const onclick = (event) => run(event.currentTarget, place, () => open(note.id));
    return el(
        'li',
        { class: 'card' },
        el('h2', {}, el('button', { type: 'button', class: 'open', dir: 'auto', 'data-id': note.id, onclick }, note.title || 'Untitled')),
        el('p', { class: 'excerpt', dir: 'auto' }, ...marked(note)),
        tagList(note.tags),
        el('p', { class: 'meta' }, time(note.updated_at)),
    );
}

// The excerpt without Markdown, or the snippet of a search, which has `**` around matching words.
function marked(note) {
    if (note.snippet === undefined) return [plain(note.excerpt)];
    return note.snippet.split('**').map((part, index) => (index % 2 ? el('mark', {}, part) : part));
}

// The text of Markdown.
function plain(markdown) {
    const rendered = el('div', {}, ...renderMarkdown(markdown));
    for (const block of rendered.querySelectorAll('[dir]')) block.append(' ');
    return rendered.textContent.trim();
}

async function open(id) {
    const note = await host.call('notes_get', { id });
    opened = id;
    showNote(note, back);
}

// Returns from a note to the cards, which are loaded again if it was changed or deleted.
async function back() {
    showBoard();
    if (notesChanged) {
        notesChanged = false;
        await load(shown).catch((error) => place.replaceChildren(problem(error)));
    }
    const card = [...cards.querySelectorAll('button')].find((button) => button.dataset.id === opened);
    (card ?? query).focus();
}

showBoard();
host.connect('notes-board', {
    input(input) {
        Object.assign(shown, { query: input.query ?? '', tag: input.tag ?? '' });
        query.value = shown.query;
    },
    output: accept,
    failed(error) {
        message.textContent = '';
        place.replaceChildren(problem(error));
    },
    cancelled() {
        message.textContent = 'The call was cancelled.';
    },
});
