// The OAuth provider of the TypeScript SDK v2, which also checks who has answered (RFC 9207).
import {
    Client,
    StreamableHTTPClientTransport,
    UnauthorizedError,
} from '@modelcontextprotocol/client';
import { Memory, tellSignIn } from './sign_in.mjs';
import { identity } from './story.mjs';

const memory = new Memory();
const transport = () =>
    new StreamableHTTPClientTransport(new URL(process.env.MCP_URL), { authProvider: memory });
await tellSignIn({
    memory,
    UnauthorizedError,
    async connect() {
        const client = new Client(identity, { versionNegotiation: { mode: process.argv[2] } });
        await client.connect(transport());
        return client;
    },
    finish: (answer) => transport().finishAuth(answer),
});
