// The TypeScript SDK v1, as most clients of today have it.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
    CreateMessageRequestSchema,
    ElicitRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { capabilities, identity, sampled, tellStory, transportOptions } from './story.mjs';

const on = {};
const client = new Client(identity, { capabilities });
client.setRequestHandler(ElicitRequestSchema, (request) => on.elicit(request));
client.setRequestHandler(CreateMessageRequestSchema, (request) => sampled(on.sample(request)));
const transport = new StreamableHTTPClientTransport(new URL(process.env.MCP_URL), transportOptions);
await client.connect(transport);
// The second argument of callTool is a result schema in this version.
await tellStory(client, on, (more) => [undefined, more]);
await transport.terminateSession();
await client.close();
