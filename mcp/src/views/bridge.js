// The view's side of MCP Apps (SEP-1865, revision 2026-01-26): JSON-RPC with the host over postMessage.
const host = (() => {
    // The maximum time to wait for a response, in ms. A person may have to approve a tool call first.
    const TIMEOUT = 300_000;

    const waiting = new Map();
    // What a view does by default.
    const listeners = {
        input() {},
        output() {},
        failed: (error) => show(problem(error)),
        cancelled: () => show(status('The call was cancelled.')),
        teardown() {},
    };
    let capabilities = {};
    let context = {};
    let lastId = 0;

    // The origin of the host is unknown, and may be opaque. Messages contain only what the host has
    // sent, or what the user has typed for it.
    const post = (message) => parent.postMessage({ jsonrpc: '2.0', ...message }, '*');
    const notify = (method, params = {}) => post({ method, params });

    function request(method, params) {
        const id = ++lastId;
        return new Promise((resolve, reject) => {
            const late = () => {
                waiting.delete(id);
                reject(new Error('The host did not respond. Try again.'));
            };
            waiting.set(id, { resolve, reject, timer: setTimeout(late, TIMEOUT) });
            post({ id, method, params });
        });
    }

    function respond({ id, result, error }) {
        const request = waiting.get(id);
        if (!request) return;
        waiting.delete(id);
        clearTimeout(request.timer);
        if (error) request.reject(new Error(error.message || 'The host refused the request.'));
        else request.resolve(result || {});
    }

    function setContext(changed) {
        context = { ...context, ...changed };
        const root = document.documentElement;
        if (changed.theme === 'light' || changed.theme === 'dark') {
            root.dataset.theme = changed.theme;
            root.style.colorScheme = changed.theme;
        }
        for (const [name, value] of Object.entries(changed.styles?.variables ?? {})) {
            if (/^--[a-z0-9-]+$/.test(name) && typeof value === 'string') {
                root.style.setProperty(name, value);
            }
        }
        for (const [side, pixels] of Object.entries(changed.safeAreaInsets ?? {})) {
            if (Number.isFinite(pixels)) root.style.setProperty(`--inset-${side}`, `${pixels}px`);
        }
    }

    // The output of a tool. A failed call, or one without output, becomes an error.
    function outputOf({ isError, structuredContent, content = [] }) {
        const texts = content.filter((block) => block.type === 'text').map((block) => block.text);
        if (isError) throw new Error(texts.join('\n') || 'The call failed without a message.');
        if (structuredContent) return structuredContent;
        // Sessions before 2025-06-18 have the output only as text.
        try {
            return JSON.parse(texts[0]);
        } catch {
            throw new Error('The tool returned nothing that this view can show.');
        }
    }

    function receiveResult(result) {
        let output;
        try {
            output = outputOf(result);
        } catch (error) {
            return listeners.failed(error);
        }
        listeners.output(output);
    }

    const handlers = {
        'ui/notifications/tool-input': ({ arguments: input }) => listeners.input(input ?? {}),
        'ui/notifications/tool-result': receiveResult,
        'ui/notifications/tool-cancelled': () => listeners.cancelled(),
        'ui/notifications/host-context-changed': (changed) => setContext(changed),
        'ui/resource-teardown': () => listeners.teardown(),
        ping: () => {},
    };

    function receive({ id, method, params }) {
        const handler = Object.hasOwn(handlers, method) ? handlers[method] : undefined;
        if (handler) handler(params ?? {});
        if (id === undefined) return;
        if (handler) post({ id, result: {} });
        else post({ id, error: { code: -32601, message: `A view has no method ${method}` } });
    }

    addEventListener('message', ({ source, data }) => {
        if (source !== parent || data?.jsonrpc !== '2.0') return;
        if (typeof data.method === 'string') receive(data);
        else respond(data);
    });

    // Reports the height of the content, so that the host can fit the frame to it.
    function reportHeight() {
        let reported = 0;
        new ResizeObserver(() => {
            const height = Math.ceil(document.body.getBoundingClientRect().height);
            if (height === reported) return;
            reported = height;
            notify('ui/notifications/size-changed', { height });
        }).observe(document.body);
    }

    return {
        get context() {
            return context;
        },

        // Connects to the host. `given` has functions for what the host sends: `input(arguments)` of
        // the call that opened the view, its `output(structuredContent)` or `failed(error)`,
        // `cancelled()`, and `teardown()` before the view is removed.
        async connect(name, given) {
            Object.assign(listeners, given);
            let started;
            try {
                started = await request('ui/initialize', {
                    protocolVersion: '2026-01-26',
                    appInfo: { name, version: '1' },
                    appCapabilities: { availableDisplayModes: ['inline', 'fullscreen'] },
                });
            } catch (error) {
                return show(problem(error));
            }
            capabilities = started.hostCapabilities ?? {};
            setContext(started.hostContext ?? {});
            notify('ui/notifications/initialized');
            reportHeight();
        },

        // Calls a tool of the server and returns its output. The text of a failed call becomes the
        // message of the error.
        async call(tool, input) {
            return outputOf(await request('tools/call', { name: tool, arguments: input }));
        },

        // Opens a page outside of the view.
        async openLink(url) {
            const { isError } = await request('ui/open-link', { url });
            if (isError) throw new Error('The host did not open the link.');
        },

        // Tells the model what the user did in the view, for its next turn.
        async tellModel(text) {
            if (!capabilities.updateModelContext) return;
            const content = [{ type: 'text', text }];
            await request('ui/update-model-context', { content }).catch(() => {});
        },
    };
})();
