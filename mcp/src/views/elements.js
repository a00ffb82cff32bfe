// Helpers to build the document. Text of users only ever becomes text nodes, never markup.

// Creates an element: `el('button', { class: 'primary', onclick: save }, 'Save')`. Attributes that are
// `false`, `null` or `undefined` are left out.
function el(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
        if (typeof value === 'function') element.addEventListener(key.slice(2), value);
        else if (value === true) element.setAttribute(key, '');
        else if (value !== false && value != null) element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
}

// Replaces the content of the view.
function show(...children) {
    document.querySelector('main').replaceChildren(...children.filter((child) => child != null));
}

// A paragraph that screen readers read aloud when its text changes.
function status(text = '') {
    return el('p', { role: 'status', class: 'status' }, text);
}

// A problem, which screen readers read aloud immediately.
function problem(error) {
    return el('p', { role: 'alert', class: 'problem', dir: 'auto' }, error.message);
}

// Runs an action of a button that is disabled meanwhile. A failure is shown at `place`.
async function run(button, place, action) {
    if (button.disabled) return;
    button.disabled = true;
    place.replaceChildren();
    try {
        await action();
    } catch (error) {
        place.replaceChildren(problem(error));
    } finally {
        button.disabled = false;
    }
}

// Formats with the language and time zone of the host, or of the browser if the host's are unknown.
function format(formatter, options, value) {
    const { locale, timeZone } = host.context;
    try {
        return new formatter(locale, { ...options, timeZone }).format(value);
    } catch {
        return new formatter(undefined, options).format(value);
    }
}

function time(text) {
    const date = new Date(text);
    if (Number.isNaN(date.getTime())) return text;
    const options = { dateStyle: 'medium', timeStyle: 'short' };
    return el('time', { datetime: text }, format(Intl.DateTimeFormat, options, date));
}

function number(value) {
    return format(Intl.NumberFormat, {}, value);
}

function counted(count, one, many) {
    return `${number(count)} ${count === 1 ? one : many}`;
}

// A size in bytes, in decimal units.
function size(bytes) {
    if (bytes < 1000) return counted(bytes, 'byte', 'bytes');
    const units = ['kilobyte', 'megabyte', 'gigabyte'];
    const steps = Math.min(Math.floor(Math.log10(bytes) / 3), units.length);
    const options = { style: 'unit', unit: units[steps - 1], maximumFractionDigits: 1 };
    return format(Intl.NumberFormat, options, bytes / 1000 ** steps);
}

// Returns the normalized URL if its scheme is http, https or mailto. `null`: it has another scheme, or
// is not a URL.
function safeUrl(text) {
    try {
        const url = new URL(text);
        return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
    } catch {
        return null;
    }
}

// A link that the host opens. A link of another kind, such as `javascript:`, becomes text.
function link(target, ...children) {
    const url = safeUrl(target);
    if (!url) return el('span', {}, ...children);
    const open = (event) => {
        event.preventDefault();
        const anchor = event.currentTarget;
        host.openLink(url).catch((error) => anchor.after(problem(error)));
    };
    return el('a', { href: url, title: url, rel: 'noopener noreferrer', onclick: open }, ...children);
}
