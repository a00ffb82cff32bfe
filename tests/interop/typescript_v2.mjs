// The TypeScript SDK v2: `legacy` shakes hands as v1 does, `auto` finds out that the server speaks
// 2026-07-28.
import assert from 'node:assert/strict';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { capabilities, identity, sampled, tellStory, transportOptions } from './story.mjs';

const mode = process.argv[2];
const on = {};
const client = new Client(identity, { capabilities, versionNegotiation: { mode } });
client.setRequestHandler('elicitation/create', (request) => on.elicit(request));
client.setRequestHandler('sampling/createMessage', (request) => sampled(on.sample(request)));
const transport = new StreamableHTTPClientTransport(new URL(process.env.MCP_URL), transportOptions);
await client.connect(transport);
assert.equal(client.getProtocolEra(), mode === 'legacy' ? 'legacy' : 'modern');
await tellStory(client, on, (more) => [more]);
await client.close();
