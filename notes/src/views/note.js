// The view of `notes_get`: one note.
show(status('Loading…'));
host.connect('notes-note', { output: (note) => showNote(note) });
