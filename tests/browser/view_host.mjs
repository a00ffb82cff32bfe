// A host of MCP Apps as a web page: the official host bridge (@modelcontextprotocol/ext-apps) around
// a view in a sandboxed frame with the default content security policy of the specification. The
// tool calls of the view go to a function of the test.
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const MODULES = path.resolve(import.meta.dirname, '../node_modules');

// SEP-1865, "Restrictive Default".
const POLICY = [
    "default-src 'none'",
    "script-src 'self' 'unsafe-inline'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data:",
    "media-src 'self' data:",
    "connect-src 'none'",
].join('; ');

const IMPORTS = {
    '@modelcontextprotocol/client': '@modelcontextprotocol/client/dist/index.mjs',
    '@modelcontextprotocol/client/_shims': '@modelcontextprotocol/client/dist/shimsBrowser.mjs',
    '@modelcontextprotocol/core': '@modelcontextprotocol/core/dist/index.mjs',
    '@modelcontextprotocol/core/internal': '@modelcontextprotocol/core/dist/internal.mjs',
    eventsource: 'eventsource/dist/index.js',
    'eventsource-parser': 'eventsource-parser/dist/index.js',
    'eventsource-parser/stream': 'eventsource-parser/dist/stream.js',
    'pkce-challenge': 'pkce-challenge/dist/index.browser.js',
    'zod/v4': 'zod/v4/index.js',
};

const imports = Object.fromEntries(
    Object.entries(IMPORTS).map(([name, file]) => [name, `/modules/${file}`]),
);

// The frame is as wide as the window, and as high as the view asks.
const PAGE = `<!doctype html>
<html lang="en">
<title>Host</title>
<link rel="icon" href="data:,">
<style>
    html, body { margin: 0; background: light-dark(#ffffff, #1b1b1d); }
    iframe { display: block; width: 100%; height: 150px; border: 0; }
</style>
<script type="importmap">${JSON.stringify({ imports })}</script>
<script type="module">
import { AppBridge, PostMessageTransport } from '/modules/@modelcontextprotocol/ext-apps/dist/src/app-bridge.js';

const frame = document.querySelector('iframe');
const log = (entry) => globalThis.record(entry);

globalThis.openView = async ({ tool, capabilities, context }) => {
    const bridge = new AppBridge(null, { name: 'Test Host', version: '1' }, capabilities, {
        hostContext: { ...context, toolInfo: { tool } },
    });
    const initialized = new Promise((resolve) => {
        bridge.oninitialized = () => resolve();
    });
    bridge.oncalltool = (params) => globalThis.callTool(params);
    bridge.onopenlink = async ({ url }) => {
        await log({ opened: url });
        return {};
    };
    bridge.onupdatemodelcontext = async (params) => {
        await log({ told: params.content[0].text });
        return {};
    };
    bridge.onsizechange = ({ height }) => {
        if (height) frame.style.height = height + 'px';
    };
    await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
    frame.src = '/view';
    await initialized;
    globalThis.bridge = bridge;
    globalThis.appInfo = bridge.getAppVersion();
};
globalThis.isReady = true;
</script>
<iframe title="View" sandbox="allow-scripts"></iframe>
`;

const TYPES = { '.js': 'text/javascript', '.mjs': 'text/javascript' };

export class ViewHost {
    html = '';
    records = [];

    static async start() {
        const host = new ViewHost();
        host.server = http.createServer((request, response) => host.serve(request, response));
        host.server.listen(0, '127.0.0.1');
        host.server.unref();
        await once(host.server, 'listening');
        host.origin = `http://127.0.0.1:${host.server.address().port}`;
        return host;
    }

    serve(request, response) {
        const { pathname } = new URL(request.url, 'http://host');
        if (pathname === '/') {
            response.setHeader('content-type', 'text/html; charset=utf-8');
            response.end(PAGE);
        } else if (pathname === '/view') {
            response.setHeader('content-type', 'text/html; charset=utf-8');
            response.setHeader('content-security-policy', POLICY);
            response.end(this.html);
        } else {
            const file = path.join(MODULES, pathname.replace('/modules/', ''));
            if (!file.startsWith(MODULES) || !fs.existsSync(file)) return response.writeHead(404).end();
            response.setHeader('content-type', TYPES[path.extname(file)] ?? 'text/plain');
            response.end(fs.readFileSync(file));
        }
    }

    // Opens a view in a new page, until it has shaken hands with the host. `call(params)` answers the
    // tool calls of the view.
    async open(context, { html, tool, call, theme = 'light', variables, capabilities = {} }) {
        this.html = html;
        const page = await context.newPage();
        const records = [];
        const problems = [];
        page.on('pageerror', (error) => problems.push(`${error}`));
        page.on('console', (message) => {
            if (message.type() === 'error') problems.push(message.text());
        });
        page.on('request', (request) => {
            const url = request.url();
            if (!url.startsWith(this.origin) && !url.startsWith('data:')) problems.push(`requested ${url}`);
        });
        page.on('popup', () => problems.push('opened a window'));
        page.on('dialog', (dialog) => {
            problems.push(`showed a dialog: ${dialog.message()}`);
            dialog.dismiss();
        });
        await page.exposeFunction('callTool', async (params) => {
            records.push({ called: params.name, arguments: params.arguments });
            return call(params);
        });
        await page.exposeFunction('record', (entry) => void records.push(entry));
        await page.goto(this.origin);
        await page.waitForFunction(() => globalThis.isReady);
        await page.evaluate((options) => globalThis.openView(options), {
            tool,
            capabilities: { openLinks: {}, serverTools: {}, updateModelContext: { text: {} }, ...capabilities },
            context: { theme, styles: { variables }, locale: 'en-US', timeZone: 'UTC' },
        });
        const view = page.frames().find((frame) => frame.url().endsWith('/view'));
        return {
            page,
            view,
            records,
            problems,
            // Sends what a host sends: `sendToolInput`, `sendToolResult`, `sendHostContextChange`, …
            send: (method, params) =>
                page.evaluate(([name, given]) => globalThis.bridge[name](given), [method, params]),
        };
    }
}
