// The OAuth provider of the TypeScript SDK v1, as most clients of today have it.
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { Memory, tellSignIn } from './sign_in.mjs';
import { identity } from './story.mjs';

const memory = new Memory();
const transport = () =>
    new StreamableHTTPClientTransport(new URL(process.env.MCP_URL), { authProvider: memory });
await tellSignIn({
    memory,
    UnauthorizedError,
    async connect() {
        const client = new Client(identity);
        await client.connect(transport());
        return client;
    },
    finish: (answer) => transport().finishAuth(answer.get('code')),
});
