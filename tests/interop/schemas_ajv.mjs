// Compiles every schema with Ajv in its strict mode, which many clients use to check what they send
// and get: any remark of it is a failure.
import assert from 'node:assert/strict';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { identity, transportOptions } from './story.mjs';

const client = new Client(identity, { versionNegotiation: { mode: 'auto' } });
const transport = new StreamableHTTPClientTransport(new URL(process.env.MCP_URL), transportOptions);
await client.connect(transport);
const { tools } = await client.listTools();
await client.close();
assert.ok(tools.length > 10, `${tools.length} tools`);
console.log('ok lists');

const remarks = [];
const remark = (...words) => remarks.push(words.join(' '));
const logger = { log: remark, warn: remark, error: remark };
for (const tool of tools) {
    for (const schema of [tool.inputSchema, tool.outputSchema].filter(Boolean)) {
        const ajv = new Ajv2020({ strict: true, strictRequired: true, allErrors: true, logger });
        ajv.compile(schema);
        assert.deepEqual(remarks, [], tool.name);
    }
}
console.log('ok compiles');
