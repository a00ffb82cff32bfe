// A note, with a form to change it and a button to delete it.

// Whether a note was changed or deleted, so that lists of notes may be out of date.
let notesChanged = false;

function tagList(tags) {
    if (!tags?.length) return null;
    const items = tags.map((tag) => el('li', {}, el('bdi', { class: 'tag' }, tag)));
    return el('ul', { class: 'tags', 'aria-label': 'Tags' }, ...items);
}

// Shows a note. `back`: what the button “Back” does; without it there is no such button.
function showNote(note, back) {
    const place = el('div');
    const edit = () => showForm(note, back);
    const remove = () => place.replaceChildren(confirmation(note, back, removeButton));
    const removeButton = el('button', { type: 'button', class: 'danger', onclick: remove }, 'Delete');
    const title = el('h1', { dir: 'auto', tabindex: '-1' }, note.title || 'Untitled');
    const text = el('div', { class: 'note-text' }, ...renderMarkdown(note.body, 2));
    show(
        back && el('div', { class: 'row' }, el('button', { type: 'button', onclick: back }, '← Back')),
        el(
            'article',
            {},
            title,
            tagList(note.tags),
            el('p', { class: 'meta' }, 'Changed ', time(note.updated_at), ' · Created ', time(note.created_at)),
            text,
        ),
        el('div', { class: 'row' }, el('button', { type: 'button', onclick: edit }, 'Edit'), removeButton),
        place,
    );
    // The content was replaced, and with it the element that had the focus.
    if (back) title.focus();
}

function confirmation(note, back, removeButton) {
    const place = el('div');
    const keep = () => {
        box.remove();
        removeButton.focus();
    };
    const remove = () =>
        run(yes, place, async () => {
            // The user has confirmed here. A host that cannot ask them returns a token for a second call.
            let result = await host.call('notes_delete', { id: note.id });
            if (result.confirm) {
                result = await host.call('notes_delete', { id: note.id, confirm: result.confirm });
            }
            if (!result.deleted) throw new Error(result.reason ?? 'The note was not deleted.');
            notesChanged = true;
            host.tellModel(`The user deleted the note “${note.title}” (${note.id}).`);
            showDeleted(note, back);
        });
    const yes = el('button', { type: 'button', class: 'danger', onclick: remove }, 'Delete permanently');
    const no = el('button', { type: 'button', onclick: keep }, 'Keep');
    const question = el('p', { id: 'question' }, 'Delete this note? This cannot be undone.');
    const onkeydown = (event) => event.key === 'Escape' && keep();
    const box = el(
        'div',
        { class: 'confirm', role: 'group', 'aria-labelledby': 'question', onkeydown },
        question,
        el('div', { class: 'row' }, yes, no),
        place,
    );
    // After it has been added to the document.
    queueMicrotask(() => no.focus());
    return box;
}

function showDeleted(note, back) {
    const message = el('p', { role: 'status', tabindex: '-1', dir: 'auto' }, `“${note.title}” is deleted.`);
    show(message, back && el('button', { type: 'button', onclick: back }, '← Back'));
    message.focus();
}

function field(label, input) {
    return el('label', { class: 'field' }, el('span', {}, label), input);
}

function showForm(note, back) {
    const place = el('div');
    const title = el('input', { dir: 'auto', value: note.title });
    const body = el('textarea', { dir: 'auto', spellcheck: 'true' });
    body.value = note.body;
    const tags = el('input', { dir: 'auto', value: note.tags.join(', ') });
    // Not a form: the sandbox of a host may forbid those.
    const submit = () => {
        const changes = changed(note, title.value, body.value, tags.value);
        run(save, place, () => store(note, changes, back, place));
    };
    const save = el('button', { type: 'button', class: 'primary', onclick: submit }, 'Save');
    const cancel = el('button', { type: 'button', onclick: () => showNote(note, back) }, 'Cancel');
    show(
        el('h1', {}, 'Edit note'),
        field('Title', title),
        field('Text (Markdown)', body),
        field('Tags, separated by commas', tags),
        el('div', { class: 'row' }, save, cancel),
        place,
    );
    title.focus();
}

// The arguments that differ from the note. The tool reads empty text as unchanged.
function changed(note, title, body, tagText) {
    const changes = {};
    if (title.trim() !== note.title) changes.title = title.trim();
    if (body !== note.body) changes.body = body;
    const tags = [...new Set(tagText.split(',').map((tag) => tag.trim()).filter(Boolean))];
    if (tags.join('\n') !== note.tags.join('\n')) changes.tags = tags;
    return changes;
}

async function store(note, changes, back, place) {
    if (changes.title === '') throw new Error('A note needs a title.');
    if (changes.body?.trim() === '') throw new Error('A note cannot be emptied. Write some text, or delete it.');
    if (!Object.keys(changes).length) return showNote(note, back);
    const now = await host.call('notes_get', { id: note.id });
    if (now.updated_at !== note.updated_at) return place.replaceChildren(conflict(now, changes, back, place));
    await write(note.id, changes, back);
}

async function write(id, changes, back) {
    const note = await host.call('notes_update', { id, ...changes });
    notesChanged = true;
    host.tellModel(`The user changed the note “${note.title}” (${id}). Read it again before you use it.`);
    showNote(note, back);
}

// The note was changed elsewhere since it was opened.
function conflict(now, changes, back, place) {
    const overwrite = () => run(yes, place, () => write(now.id, changes, back));
    const yes = el('button', { type: 'button', class: 'danger', onclick: overwrite }, 'Save mine');
    const reload = () => showNote(now, back);
    return el(
        'div',
        { class: 'confirm', role: 'alert' },
        el('p', {}, 'This note was changed elsewhere since you opened it.'),
        el('div', { class: 'row' }, yes, el('button', { type: 'button', onclick: reload }, 'Discard mine')),
    );
}
