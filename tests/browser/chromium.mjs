// Where Chromium is.
import fs from 'node:fs';
import path from 'node:path';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

export function findChromium() {
    if (process.env.CHROMIUM) return process.env.CHROMIUM;
    const candidates = process.env.PATH.split(':').flatMap((folder) =>
        NAMES.map((name) => path.join(folder, name)),
    );
    candidates.push('/Applications/Chromium.app/Contents/MacOS/Chromium');
    const found = candidates.find((it) => fs.existsSync(it));
    if (!found) throw new Error(`one of ${NAMES.join(', ')} is needed: scripts/test installs it`);
    return found;
}
