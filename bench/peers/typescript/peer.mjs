// The official TypeScript SDK with `pg` and the same SQL, without authentication. It answers 2026-07-28 with
// JSON. The words of a created note are constant, and times have milliseconds.

import { createServer } from 'node:http';
import {
    localhostHostValidation,
    localhostOriginValidation,
    toNodeHandler,
} from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import pg from 'pg';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';

// The users, whose notes are listed and created in turn.
const OWNERS = Array.from({ length: Number(process.env.USERS ?? 1) }, (_, number) =>
    number === 0 ? 'dev:bench' : `dev:bench-${number}`,
);
let calls = 0;
const nextOwner = () => OWNERS[calls++ % OWNERS.length];

const EXCERPT = 200;

const LIST = {
    name: 'list',
    text: `SELECT "notes"."id", "notes"."title", "notes"."tags", "notes"."created_at", "notes"."updated_at", substr("body", $1, $2) AS "excerpt" FROM "notes" WHERE "notes"."owner_sub" = $3 ORDER BY "notes"."created_at" DESC, "notes"."id" DESC LIMIT $4`,
};

const INSERT = {
    name: 'insert',
    text: `WITH bounds AS MATERIALIZED (
            SELECT set_config('lock_timeout', '1s', true)
        ), used AS MATERIALIZED (
            SELECT note_usage.notes, note_usage.bytes FROM bounds, note_usage
            WHERE owner_sub = $2 FOR UPDATE OF note_usage
        )
        INSERT INTO notes
            (id, owner_sub, title, body, tags, created_at, updated_at, search, search_version)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8::tsvector, $9 FROM used
        WHERE used.notes < $10 AND used.bytes + note_bytes($3, $5, $4) <= $11
        ON CONFLICT (id) DO NOTHING`,
};

const WORDS =
    "'a':1A 'note':2A 'benchmark':5A 'the':4A,7,13 'brown':9 'jump':11 'dog':15 'lazi':14 'quick':8 'fox':10 'of':3A 'over':12";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

const summary = z.object({
    id: z.string(),
    title: z.string(),
    excerpt: z.string(),
    tags: z.array(z.string()),
    created_at: z.string(),
    updated_at: z.string(),
});
const page = z.object({ notes: z.array(summary), next_cursor: z.string().optional() });
const note = summary.omit({ excerpt: true }).extend({ body: z.string() });

async function list({ limit }) {
    const { rows } = await pool.query({ ...LIST, values: [1, EXCERPT + 1, nextOwner(), limit + 1] });
    const more = rows.length > limit;
    rows.length = Math.min(rows.length, limit);
    const notes = rows.map((row) => ({
        id: row.id,
        title: row.title,
        excerpt: excerpt(row.excerpt),
        tags: row.tags,
        created_at: row.created_at.toISOString(),
        updated_at: row.updated_at.toISOString(),
    }));
    return more ? { notes, next_cursor: cursor(rows[limit - 1]) } : { notes };
}

async function create({ title, body }) {
    const [id, now] = [uuid(), new Date()];
    const owner = nextOwner();
    const words = `'=${owner}' ${WORDS}`;
    const values = [id, owner, title, body, '[]', now, now, words, 1, 10_000_000, 1_000_000_000_000];
    const { rowCount } = await pool.query({ ...INSERT, values });
    if (rowCount === 0) throw new Error('The note was not created.');
    const time = now.toISOString();
    return { id, title, body, tags: [], created_at: time, updated_at: time };
}

function excerpt(beginning) {
    if (beginning.length <= EXCERPT) return beginning;
    const characters = Array.from(beginning);
    return characters.length <= EXCERPT ? beginning : `${characters.slice(0, EXCERPT - 1).join('')}…`;
}

function cursor({ created_at, id }) {
    const bytes = Buffer.alloc(25, 1);
    bytes.writeBigInt64BE(BigInt(created_at.getTime()) * 1000n, 1);
    bytes.write(id.replaceAll('-', ''), 9, 'hex');
    return bytes.toString('base64url');
}

function answer(structuredContent) {
    return { content: [{ type: 'text', text: JSON.stringify(structuredContent) }], structuredContent };
}

// The handler makes a server for each request.
const handler = createMcpHandler(() => {
    const server = new McpServer({ name: 'notes', version: '0.1.0' });
    server.registerTool(
        'notes_list',
        {
            description: 'Lists notes',
            inputSchema: z.object({ limit: z.number().int() }),
            outputSchema: page,
        },
        async (input) => answer(await list(input)),
    );
    server.registerTool(
        'notes_create',
        {
            description: 'Creates a note',
            inputSchema: z.object({ title: z.string(), body: z.string() }),
            outputSchema: note,
        },
        async (input) => answer(await create(input)),
    );
    return server;
});

const isHostAllowed = localhostHostValidation();
const isOriginAllowed = localhostOriginValidation();
const respond = toNodeHandler(handler);

createServer((request, response) => {
    if (isHostAllowed(request, response) && isOriginAllowed(request, response)) {
        return respond(request, response);
    }
}).listen(Number(process.env.PORT), '127.0.0.1');
