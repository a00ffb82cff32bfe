// A reverse proxy for test suites that can neither send a token nor talk to several instances.
//
// It sends each request to the next instance, as a load balancer without sticky sessions does, and
// adds `Authorization` to requests that have none, if it was given a token. To the instances each
// request comes from another address: the limits for one address are not what these suites test.
// Everything else passes unchanged and at once: Host and Origin, event streams, and a disconnect on
// either side. With a key and a certificate it is reached by https.
import http from 'node:http';
import https from 'node:https';

export async function startProxy(tls) {
    let upstreams = [];
    let token;
    let next = 0;

    const { createServer } = tls ? https : http;
    const server = createServer(tls ?? {}, (request, response) => {
        const headers = request.rawHeaders.slice();
        if (token && !request.headers.authorization) {
            headers.push('Authorization', `Bearer ${token}`);
        }
        const visitor = next++;
        headers.push('X-Forwarded-For', `10.${visitor >> 16}.${(visitor >> 8) & 255}.${visitor & 255}`);
        const upstream = http.request(
            {
                host: '127.0.0.1',
                port: upstreams[visitor % upstreams.length],
                method: request.method,
                path: request.url,
                headers,
                setHost: false,
                agent: false,
            },
            (answer) => {
                response.writeHead(answer.statusCode, answer.statusMessage, answer.rawHeaders);
                response.flushHeaders();
                answer.pipe(response);
                answer.on('error', () => response.destroy());
            },
        );
        upstream.setNoDelay(true);
        upstream.on('error', (error) => {
            if (response.headersSent) response.destroy();
            else response.writeHead(502).end(String(error));
        });
        response.on('close', () => {
            if (!response.writableFinished) upstream.destroy();
        });
        request.pipe(upstream);
    });
    // An event stream may stay open as long as it likes.
    server.requestTimeout = 0;
    await new Promise((ready) => server.listen(0, '127.0.0.1', ready));

    const { port } = server.address();
    return {
        port,
        origin: `http://127.0.0.1:${port}`,
        forwardTo(ports, bearer) {
            upstreams = ports;
            token = bearer;
        },
        close() {
            server.close();
            server.closeAllConnections();
        },
    };
}
