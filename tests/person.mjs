// A person with a browser who means yes, by HTTP alone: opens the address that a client asks for,
// approves, signs in, and follows every redirect until one leads to the client.
//
//   node tests/person.mjs URL           prints where the browser ends up, at the client
//   node tests/person.mjs --visit URL   goes there, too
//
// As a program it is the person whom PERSON names. PROVIDER is the identity provider to choose if there
// are several.
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';

// More than any sign-in has: a loop of redirects is a failure, not a hang.
const MOST_STEPS = 12;

// Gives the address at the client where the browser ends up, without going there.
export async function signIn(url, name, { decision = 'approve' } = {}) {
    const client = new URL(url).searchParams.get('redirect_uri');
    // Cookies are for a host, whatever its port, as in every browser. One says who this is at GitHub.
    const cookies = new Map([['github-account', name]]);

    let next = { url };
    for (let step = 0; step < MOST_STEPS; step++) {
        const response = await ask(next, cookies);
        if (response.status >= 300 && response.status < 400) {
            const to = new URL(response.headers.get('location'), next.url).href;
            if (to.startsWith(client)) return to;
            next = { url: to };
            continue;
        }
        const page = await response.text();
        assert.equal(response.status, 200, `${next.url}: ${page}`);
        next = filled(page, next.url, name, decision);
    }
    throw new Error(`no end after ${MOST_STEPS} steps, at ${next.url}`);
}

async function ask({ url, form }, cookies) {
    const headers = { cookie: [...cookies].map((it) => it.join('=')).join('; ') };
    // As browsers do: by this the server knows that the form is from its own page.
    if (form) headers.origin = new URL(url).origin;
    const method = form ? 'POST' : 'GET';
    const response = await fetch(url, { method, headers, body: form, redirect: 'manual' });
    for (const cookie of response.headers.getSetCookie()) {
        const [, key, value] = /^([^=]+)=([^;]*)/.exec(cookie);
        if (/; Max-Age=0(;|$)/.test(cookie)) cookies.delete(key);
        else cookies.set(key, value);
    }
    return response;
}

// The only form of a page, filled in: what asks for a name gets one, and boxes stay as they are.
function filled(page, url, name, decision) {
    const [, tag, inside] = /<form([^>]*)>(.*?)<\/form>/s.exec(page) ?? [];
    assert.ok(tag, `${url} has no form: ${page}`);
    const form = new URLSearchParams();
    for (const [input] of inside.matchAll(/<input[^>]*>/g)) {
        if (attribute(input, 'type') === 'checkbox' && !/ checked\b/.test(input)) continue;
        const key = attribute(input, 'name');
        form.set(key, key === 'name' ? name : attribute(input, 'value'));
    }
    if (inside.includes('name="decision"')) form.set('decision', decision);
    const provider = process.env.PROVIDER;
    if (provider && inside.includes(`name="provider" value="${provider}"`)) {
        form.set('provider', provider);
    }
    return { url: new URL(attribute(tag, 'action'), url).href, form };
}

function attribute(tag, name) {
    const value = new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1] ?? '';
    return value.replaceAll('&#38;', '&').replaceAll('&amp;', '&');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const client = await signIn(process.argv.at(-1), process.env.PERSON);
    if (process.argv.includes('--visit')) await fetch(client);
    else console.log(client);
}
