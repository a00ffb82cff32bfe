// Starts one of our programs for a test.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import readline from 'node:readline';

const target = path.resolve(
    import.meta.dirname,
    '..',
    process.env.CARGO_TARGET_DIR ?? 'target',
    'debug',
);

// The path of a program that `cargo build` made.
export function program(name) {
    return path.join(target, name);
}

// Starts a program that says on its first line, in JSON, how to reach it, and that ends when its
// standard input does: so it never outlives the test.
export async function startProgram(name, args, env = {}) {
    const child = spawn(program(name), args, {
        stdio: ['pipe', 'pipe', 'inherit'],
        env: { ...process.env, ...env },
    });
    const gone = once(child, 'exit').then(([code]) => {
        throw new Error(`${name} ended with ${code} before it said how to reach it`);
    });
    const lines = readline.createInterface({ input: child.stdout });
    const [line] = await Promise.race([once(lines, 'line'), gone]);
    gone.catch(() => {});
    return {
        hello: JSON.parse(line),
        async stop() {
            child.stdin.end();
            if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
        },
    };
}
