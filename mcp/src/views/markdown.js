// Renders Markdown (the common part of CommonMark, with tables, task lists and ~~strikethrough~~) by
// building elements. HTML in the text stays text. Images are not loaded: they become links. The time
// is linear in the length of the text.
const renderMarkdown = (() => {
    // The depth of nested blocks and of nested inline elements. What is nested deeper is plain text.
    const MAX_DEPTH = 6;
    // The number of elements. The rest of a longer text is plain text.
    const MAX_ELEMENTS = 4_000;
    // The number of cells of a row. The last cell contains the rest of a longer row.
    const MAX_COLUMNS = 100;
    // The lengths of the text and of the target of a link, in characters.
    const MAX_LINK_TEXT = 500;
    const MAX_LINK_TARGET = 2_000;

    const FENCE = /^ {0,3}(`{3,}|~{3,})/;
    const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+|$)/;
    const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
    const QUOTE = /^ {0,3}> ?/;
    const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/;
    const TABLE_RULE = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*(?:\|[ \t]*)?$/;
    const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
    const MARKS = [
        ['***', 'em', 'strong'],
        ['**', 'strong'],
        ['__', 'strong'],
        ['~~', 's'],
        ['*', 'em'],
        ['_', 'em'],
    ];
    // Characters at which something other than text may begin.
    const SPECIAL = /[\\`*_~[!<\nh]/g;
    const URL_START = /^https?:\/\/[^\s<>"'`]{1,2000}/;

    const isBlank = (line) => line.trim() === '';
    const isWord = (character) => character !== undefined && /[\p{L}\p{N}]/u.test(character);

    return function renderMarkdown(text, firstHeading = 3) {
        let elements = 0;
        let lastHeading = firstHeading - 1;

        function make(name, ...children) {
            elements += 1;
            return el(name, {}, ...children);
        }

        // An element whose direction is that of its text.
        function makeBlock(name, ...children) {
            const element = make(name, ...children);
            element.dir = 'auto';
            return element;
        }

        const isFull = () => elements >= MAX_ELEMENTS;

        // --- inline elements

        function inline(text, depth = 0) {
            const parts = [];
            // Closing marks that do not occur in the rest of the text.
            const missing = new Set();
            let plain = '';
            let at = 0;
            const push = (node) => {
                if (plain) parts.push(plain);
                plain = '';
                parts.push(node);
            };
            while (at < text.length) {
                SPECIAL.lastIndex = at;
                const next = isFull() ? null : SPECIAL.exec(text);
                const start = next ? next.index : text.length;
                plain += text.slice(at, start);
                at = start;
                if (!next) break;
                const found = inlineAt(text, at, depth, missing);
                if (!found) {
                    plain += text[at];
                    at += 1;
                } else {
                    if (typeof found.node === 'string') plain += found.node;
                    else push(found.node);
                    at = found.end;
                }
            }
            if (plain) parts.push(plain);
            return parts;
        }

        // Parses what begins at a position. `null`: it is text.
        function inlineAt(text, at, depth, missing) {
            switch (text[at]) {
                case '\\':
                    return escaped(text, at);
                case '`':
                    return code(text, at, missing);
                case '\n':
                    return lineBreak(text, at);
                case '<':
                    return autolink(text, at);
                case 'h':
                    return bareUrl(text, at);
                case '!':
                    return text[at + 1] === '[' ? linked(text, at + 1, depth, true) : null;
                case '[':
                    return linked(text, at, depth, false);
                default:
                    return emphasis(text, at, depth, missing);
            }
        }

        function escaped(text, at) {
            const next = text[at + 1];
            if (next === '\n') return { node: make('br'), end: at + 2 };
            return next && /[!-/:-@[-`{-~]/.test(next) ? { node: next, end: at + 2 } : null;
        }

        // Two spaces before the end of a line break it; otherwise the lines are joined.
        function lineBreak(text, at) {
            const isHard = text.slice(at - 2, at) === '  ';
            return { node: isHard ? make('br') : ' ', end: at + 1 };
        }

        function code(text, at, missing) {
            let ticks = 1;
            while (text[at + ticks] === '`') ticks += 1;
            const mark = '`'.repeat(ticks);
            let end = missing.has(mark) ? -1 : text.indexOf(mark, at + ticks);
            // A longer run of backticks does not close the code.
            while (end >= 0 && text[end + ticks] === '`') {
                let after = end + ticks;
                while (text[after] === '`') after += 1;
                end = text.indexOf(mark, after);
            }
            if (end < 0) {
                missing.add(mark);
                return { node: mark, end: at + ticks };
            }
            const content = text.slice(at + ticks, end).replaceAll('\n', ' ');
            const isPadded = /^ .* $/.test(content) && content.trim() !== '';
            return { node: make('code', isPadded ? content.slice(1, -1) : content), end: end + ticks };
        }

        function autolink(text, at) {
            const end = text.slice(at, at + MAX_LINK_TARGET).indexOf('>');
            if (end < 0) return null;
            const target = text.slice(at + 1, at + end);
            const url = /^[^\s@]+@[^\s@]+$/.test(target) ? `mailto:${target}` : target;
            if (/\s/.test(target) || !safeUrl(url)) return null;
            elements += 1;
            return { node: link(url, target), end: at + end + 1 };
        }

        function bareUrl(text, at) {
            if (isWord(text[at - 1])) return null;
            const found = URL_START.exec(text.slice(at, at + MAX_LINK_TARGET));
            if (!found) return null;
            // Punctuation after a URL is not part of it, but a balanced parenthesis is.
            let url = found[0];
            let unbalanced = url.split(')').length - url.split('(').length;
            for (;;) {
                const last = url.at(-1);
                if (last === ')' ? unbalanced <= 0 : !'.,:;!?]*_~'.includes(last)) break;
                if (last === ')') unbalanced -= 1;
                url = url.slice(0, -1);
            }
            if (!safeUrl(url)) return null;
            elements += 1;
            return { node: link(url, url), end: at + url.length };
        }

        // [text](target "title"), with `at` at the bracket. An image is a link with its description.
        function linked(text, at, depth, isImage) {
            const middle = text.slice(at, at + MAX_LINK_TEXT).indexOf('](');
            if (middle < 0 || depth >= MAX_DEPTH) return null;
            const from = at + middle + 2;
            const end = closingParenthesis(text.slice(from, from + MAX_LINK_TARGET));
            if (end < 0) return null;
            const target = text.slice(from, from + end).trim().split(/\s/)[0].replace(/^<|>$/g, '');
            const label = text.slice(at + 1, at + middle);
            const content = isImage ? [`Image: ${label || target}`] : inline(label, depth + 1);
            elements += 1;
            return { node: link(target, ...content), end: from + end + 1 };
        }

        // The position of the parenthesis that closes one before the text. -1: there is none.
        function closingParenthesis(text) {
            let depth = 1;
            for (let at = 0; at < text.length && text[at] !== '\n'; at += 1) {
                if (text[at] === '(') depth += 1;
                if (text[at] === ')') depth -= 1;
                if (depth === 0) return at;
            }
            return -1;
        }

        function emphasis(text, at, depth, missing) {
            const found = MARKS.find(([mark]) => text.startsWith(mark, at));
            if (!found || depth >= MAX_DEPTH) return null;
            const [mark, name, inner] = found;
            const start = at + mark.length;
            const first = text[start];
            // An opening mark is followed by text, and an underscore does not begin inside of a word.
            if (first === undefined || /\s/.test(first) || missing.has(mark)) return null;
            if (mark[0] === '_' && isWord(text[at - 1])) return null;
            let end = text.indexOf(mark, start);
            while (end >= 0 && !closes(text, end, mark)) end = text.indexOf(mark, end + mark.length);
            if (end < 0) {
                missing.add(mark);
                return null;
            }
            if (end === start) return null;
            const content = inline(text.slice(start, end), depth + 1);
            const node = inner ? make(name, make(inner, ...content)) : make(name, ...content);
            return { node, end: end + mark.length };
        }

        function closes(text, end, mark) {
            if (/\s/.test(text[end - 1])) return false;
            // A single mark does not end at a double one.
            if (mark.length === 1 && (text[end + 1] === mark || text[end - 1] === mark)) return false;
            return mark[0] !== '_' || !isWord(text[end + mark.length]);
        }

        // --- blocks

        function blocks(lines, depth) {
            const nodes = [];
            let at = 0;
            while (at < lines.length) {
                if (isFull() || depth > MAX_DEPTH) {
                    const rest = lines.slice(at).join('\n');
                    if (!isBlank(rest)) nodes.push(makeBlock('pre', rest));
                    break;
                }
                if (isBlank(lines[at])) {
                    at += 1;
                    continue;
                }
                const block = blockAt(lines, at, depth);
                nodes.push(block.node);
                at = block.end;
            }
            return nodes;
        }

        function blockAt(lines, at, depth) {
            const line = lines[at];
            const fence = FENCE.exec(line);
            if (fence) return fenced(lines, at, fence[1]);
            const marks = HEADING.exec(line);
            if (marks) {
                const text = line.slice(marks[0].length).replace(/[ \t]#+[ \t]*$/, '');
                return { node: heading(marks[1].length, text.trim()), end: at + 1 };
            }
            if (RULE.test(line)) return { node: make('hr'), end: at + 1 };
            if (QUOTE.test(line)) return quote(lines, at, depth);
            if (ITEM.test(line)) return list(lines, at, depth);
            if (line.includes('|') && TABLE_RULE.test(lines[at + 1] ?? '')) return table(lines, at);
            const underline = UNDERLINE.exec(lines[at + 1] ?? '');
            if (underline) {
                const level = underline[1].startsWith('=') ? 1 : 2;
                return { node: heading(level, line.trim()), end: at + 2 };
            }
            return paragraph(lines, at);
        }

        function fenced(lines, at, mark) {
            let end = at + 1;
            while (end < lines.length && !lines[end].trimStart().startsWith(mark)) end += 1;
            const content = lines.slice(at + 1, end).join('\n');
            return { node: makeBlock('pre', make('code', content)), end: end + 1 };
        }

        // Levels follow each other without a gap, whatever the levels of the text.
        function heading(wanted, text) {
            const level = Math.min(firstHeading + wanted - 1, lastHeading + 1, 6);
            lastHeading = level;
            return makeBlock(`h${level}`, ...inline(text));
        }

        function quote(lines, at, depth) {
            let end = at;
            while (end < lines.length && QUOTE.test(lines[end])) end += 1;
            const content = lines.slice(at, end).map((line) => line.replace(QUOTE, ''));
            return { node: makeBlock('blockquote', ...blocks(content, depth + 1)), end };
        }

        function list(lines, at, depth) {
            const kind = ITEM.exec(lines[at])[2];
            const isOrdered = /\d/.test(kind);
            const node = makeBlock(isOrdered ? 'ol' : 'ul');
            if (isOrdered && Number.parseInt(kind, 10) !== 1) node.start = Number.parseInt(kind, 10);
            while (at < lines.length && !isFull()) {
                const item = ITEM.exec(lines[at]);
                if (!item || /\d/.test(item[2]) !== isOrdered || RULE.test(lines[at])) break;
                const indent = Math.min(item[0].length, item[1].length + item[2].length + 4);
                const content = [lines[at].slice(item[0].length)];
                at += 1;
                while (at < lines.length && belongs(lines, at, indent)) {
                    content.push(lines[at].slice(0, indent).trimStart() + lines[at].slice(indent));
                    at += 1;
                }
                node.append(listItem(content, depth));
                while (at < lines.length && isBlank(lines[at]) && ITEM.test(lines[at + 1] ?? '')) at += 1;
            }
            return { node, end: at };
        }

        // Whether a line continues an item: it is indented, or is a blank line before such a line, or
        // continues the paragraph of the line before.
        function belongs(lines, at, indent) {
            const isIndented = (line) => line !== undefined && /^\s*/.exec(line)[0].length >= Math.min(indent, 2);
            if (isBlank(lines[at])) return !isBlank(lines[at + 1] ?? '') && isIndented(lines[at + 1]);
            return isIndented(lines[at]) || (!isBlank(lines[at - 1]) && !startsBlock(lines[at]));
        }

        function listItem(content, depth) {
            const task = /^\[([ xX])\][ \t]+/.exec(content[0]);
            if (task) content[0] = content[0].slice(task[0].length);
            const nodes = blocks(content, depth + 1);
            // The text of a short item is not a paragraph of its own.
            if (nodes[0]?.localName === 'p') nodes.splice(0, 1, ...nodes[0].childNodes);
            const item = makeBlock('li', ...nodes);
            if (task) {
                const isDone = task[1] !== ' ';
                item.className = 'task';
                const label = el('span', { class: 'hidden' }, isDone ? 'Done: ' : 'To do: ');
                item.prepend(el('span', { 'aria-hidden': 'true' }, isDone ? '☑ ' : '☐ '), label);
            }
            return item;
        }

        function table(lines, at) {
            const cells = (line) => {
                const inner = line.trim().replace(/^\|/, '').replace(/\|$/, '');
                const parts = inner.split('|');
                if (parts.length > MAX_COLUMNS) parts.push(parts.splice(MAX_COLUMNS - 1).join('|'));
                return parts.map((cell) => cell.trim());
            };
            const row = (line, name) => make('tr', ...cells(line).map((cell) => makeBlock(name, ...inline(cell))));
            const head = make('thead', row(lines[at], 'th'));
            const body = make('tbody');
            let end = at + 2;
            while (end < lines.length && lines[end].includes('|') && !isFull()) {
                body.append(row(lines[end], 'td'));
                end += 1;
            }
            const node = make('table', head, body);
            // A wide table scrolls, so the keyboard must reach it.
            node.tabIndex = 0;
            return { node, end };
        }

        function startsBlock(line) {
            return [FENCE, HEADING, RULE, QUOTE, ITEM].some((start) => start.test(line));
        }

        function paragraph(lines, at) {
            let end = at + 1;
            while (end < lines.length && !isBlank(lines[end]) && !startsBlock(lines[end])) end += 1;
            const content = lines.slice(at, end).map((line) => line.trimStart()).join('\n');
            return { node: makeBlock('p', ...inline(content.trimEnd())), end };
        }

        return blocks(text.replaceAll('\r\n', '\n').split('\n'), 0);
    };
})();
