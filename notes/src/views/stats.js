// The view of `notes_stats`: charts of the notes per week and per tag, and the storage used.

const day = (text) => format(Intl.DateTimeFormat, { day: 'numeric', month: 'short', year: 'numeric' }, new Date(`${text}T12:00:00Z`));

// A chart for the eye, and a table with the same numbers for screen readers.
function weekChart(weeks) {
    const most = Math.max(1, ...weeks.map((week) => week.notes));
    const bars = weeks.map(({ week, notes }) => {
        const bar = el('div', { title: `${day(week)}: ${counted(notes, 'note', 'notes')}` });
        bar.style.height = `${(notes / most) * 100}%`;
        return bar;
    });
    const rows = weeks.map(({ week, notes }) =>
        el('tr', {}, el('th', { scope: 'row' }, day(week)), el('td', {}, number(notes))),
    );
    const head = el('tr', {}, el('th', { scope: 'col' }, 'Week from'), el('th', { scope: 'col' }, 'Notes'));
    return [
        el('div', { class: 'weeks', 'aria-hidden': 'true' }, ...bars),
        el(
            'p',
            { class: 'meta ends', 'aria-hidden': 'true' },
            el('span', {}, day(weeks[0].week)),
            el('span', {}, `At most ${number(most)} in a week`),
            el('span', {}, day(weeks.at(-1).week)),
        ),
        el('div', { class: 'hidden' }, el('table', {}, el('caption', {}, 'Notes created per week'), el('thead', {}, head), el('tbody', {}, ...rows))),
    ];
}

function tagChart(tags) {
    const most = Math.max(1, ...tags.map((tag) => tag.notes));
    const rows = tags.map(({ tag, notes }) => {
        const bar = el('div', { class: 'bar' });
        bar.style.width = `${(notes / most) * 100}%`;
        return el('tr', {}, el('th', { scope: 'row' }, el('bdi', {}, tag)), el('td', { 'aria-hidden': 'true' }, bar), el('td', {}, number(notes)));
    });
    return el('table', { class: 'bars' }, el('caption', { class: 'hidden' }, 'Notes per tag'), el('tbody', {}, ...rows));
}

function meter(label, used, quota, text) {
    const bar = el('progress', { 'aria-label': label });
    bar.max = Math.max(1, quota);
    bar.value = Math.min(used, quota);
    return [el('p', { class: 'meta' }, text), bar];
}

function showStats({ notes, bytes, quota, weeks = [], tags = [] }) {
    show(
        el('h1', {}, counted(notes, 'note', 'notes')),
        el('h2', {}, 'Created per week'),
        ...(weeks.some((week) => week.notes) ? weekChart(weeks) : [el('p', { class: 'meta' }, `None in the last ${counted(weeks.length, 'week', 'weeks')}.`)]),
        el('h2', {}, 'Tags'),
        tags.length ? tagChart(tags) : el('p', { class: 'meta' }, 'No note has a tag.'),
        el('h2', {}, 'Storage'),
        ...meter('Storage used', bytes, quota.bytes, `${size(bytes)} of ${size(quota.bytes)}`),
        ...meter('Notes stored', notes, quota.notes, `${number(notes)} of ${counted(quota.notes, 'note', 'notes')}`),
    );
}

show(status('Loading…'));
host.connect('notes-stats', { output: showStats });
