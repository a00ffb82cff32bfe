// The views of `notes_import`, `notes_export` and `notes_digest`: progress, then the result. The
// constant TOOL is the name of the tool.

function figures(rows) {
    const terms = rows.flatMap(([term, value]) => [el('dt', {}, term), el('dd', {}, value)]);
    return el('dl', { class: 'figures' }, ...terms);
}

const RESULTS = {
    notes_import: {
        running: 'Importing notes',
        done: (result) => (result.reason ? 'Nothing was imported' : 'Notes imported'),
        render: ({ total, created, replaced, skipped, reason, warnings = [], more_warnings: rest = 0 }) => [
            reason && el('p', {}, reason),
            figures([
                ['In the document', number(total)],
                ['Created', number(created)],
                ['Replaced', number(replaced)],
                ['Skipped', number(skipped)],
            ]),
            warnings.length > 0 &&
                el(
                    'details',
                    {},
                    el('summary', {}, counted(warnings.length + rest, 'warning', 'warnings')),
                    el('ul', {}, ...warnings.map((warning) => el('li', { dir: 'auto' }, warning))),
                    rest > 0 ? el('p', {}, `${number(rest)} more are not listed.`) : null,
                ),
        ],
    },
    notes_export: {
        running: 'Exporting notes',
        done: () => 'Notes exported',
        render(result) {
            const place = el('div');
            const download = () => run(button, place, () => host.openLink(result.download_url));
            const button = el('button', { type: 'button', class: 'primary', onclick: download }, 'Download');
            const isOver = Date.parse(result.expires_at) < Date.now();
            return [
                figures([
                    ['File', el('bdi', {}, result.file_name)],
                    ['Size', size(result.bytes)],
                    ['Notes', number(result.notes)],
                    [isOver ? 'Expired' : 'Available until', time(result.expires_at)],
                ]),
                isOver ? null : el('p', { class: 'row' }, button),
                place,
            ];
        },
    },
    notes_digest: {
        running: 'Summarizing notes',
        done: ({ summary }) => (summary ? 'Summary of your notes' : 'Notes to summarize'),
        render: ({ summary, notes, truncated, model }) => {
            const from = `${counted(notes, 'note', 'notes')}${truncated ? ', the newest ones' : ''}`;
            // Without a model of its own, the server gives the texts to the model of the conversation.
            if (!summary) return [el('p', { class: 'meta' }, `The assistant summarizes ${from}.`)];
            return [
                // Only the view of notes_digest contains renderMarkdown.
                el('div', { class: 'note-text' }, ...renderMarkdown(summary, 2)),
                el('p', { class: 'meta' }, `From ${from}, by the model ${model}`),
            ];
        },
    },
};

const { running, done, render } = RESULTS[TOOL];
const showResult = (result) => show(el('h1', {}, done(result)), ...render(result).filter(Boolean));

show(status('Loading…'));
host.connect(TOOL, followJob(TOOL, running, showResult));
