// The view of `bookmarks_list` and `bookmarks_search`: bookmarks as a list of links, with a search.

const message = status('Loading…');
const place = el('div');
const list = el('ul', { class: 'bookmarks' });
const words = el('input', {
    type: 'search',
    dir: 'auto',
    placeholder: 'Search bookmarks',
    'aria-label': 'Search bookmarks',
    onkeydown: (event) => event.key === 'Enter' && search(),
});
const button = el('button', { type: 'button', onclick: search }, 'Search');

function search() {
    run(button, place, async () => {
        const query = words.value.trim();
        accept(await (query ? host.call('bookmarks_search', { query }) : host.call('bookmarks_list', {})));
    });
}

function accept({ bookmarks }) {
    message.textContent = counted(bookmarks.length, 'bookmark', 'bookmarks');
    list.replaceChildren(...bookmarks.map(item));
}

function item({ url, title, tags, created_at: added, problem: reason }) {
    return el(
        'li',
        {},
        el('p', { dir: 'auto' }, link(url, title || url)),
        el('p', { class: 'meta' }, time(added), ...tags.flatMap((tag) => [' ', el('bdi', { class: 'tag' }, tag)])),
        reason ? el('p', { class: 'problem', dir: 'auto' }, `The link is dead: ${reason}`) : null,
    );
}

show(el('h1', {}, 'Bookmarks'), el('div', { role: 'search', class: 'search' }, words, button), message, place, list);
host.connect('bookmarks-list', {
    input: (input) => (words.value = input.query ?? ''),
    output: accept,
    failed(error) {
        message.textContent = '';
        place.replaceChildren(problem(error));
    },
    cancelled: () => (message.textContent = 'The call was cancelled.'),
});
