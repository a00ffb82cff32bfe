// Follows the job of a tool call in a view: its progress, a button to cancel it, and its result. The
// host has the result only when the call ends, and may stop waiting for it; the job continues.

// Milliseconds between two looks at a job, by its age.
function pollInterval(age) {
    if (age < 30_000) return 1_000;
    return age < 180_000 ? 2_000 : 5_000;
}

// After this time without an end, in ms, the view waits for a click before it looks again.
const POLL_LIMIT = 1_800_000;
// The number of looks after which a job that was never found, or cannot be read, is given up.
const MAX_MISSES = 30;

// The time between two messages for screen readers, in ms.
const SPOKEN_INTERVAL = 10_000;

// Returns the functions for `host.connect`. `heading`: what the tool does. `showResult(output)` shows the
// output of a completed call.
function followJob(tool, heading, showResult) {
    const bar = el('progress', { 'aria-label': heading });
    const message = el('p', { class: 'status' }, 'Starting…');
    // For screen readers: the same message, but only now and then.
    const spoken = status();
    spoken.classList.add('hidden');
    const place = el('div');
    const cancel = el('button', { type: 'button', hidden: true, onclick: cancelJob }, 'Cancel');
    const again = el('button', { type: 'button', hidden: true, onclick: follow }, 'Check again');
    let input = {};
    let id;
    let timer;
    let since = 0;
    let misses = 0;
    let hasEnded = false;
    let isInterrupted = false;
    let spokenAt = 0;

    function begin(given) {
        input = given;
        if (hasEnded) return;
        show(el('h1', {}, heading), bar, message, el('div', { class: 'row' }, cancel, again), place, spoken);
        follow();
    }

    function follow() {
        place.replaceChildren();
        again.hidden = true;
        since = Date.now();
        misses = 0;
        schedule();
    }

    function schedule() {
        clearTimeout(timer);
        const age = Date.now() - since;
        if (age < POLL_LIMIT && misses < MAX_MISSES) timer = setTimeout(look, pollInterval(age));
        else pause();
    }

    function pause() {
        again.hidden = false;
        if (!id) message.textContent = isInterrupted ? 'The call was cancelled.' : 'The job was not found.';
    }

    async function look() {
        try {
            const wanted = id ? { id } : { tool, arguments: input };
            const { job, result, error } = await host.call('jobs_status', wanted);
            if (hasEnded) return;
            if (job) accept(job, result, error);
            else misses += 1;
        } catch (error) {
            misses += 1;
            // A single failure may pass; the next look follows anyway.
            if (misses >= MAX_MISSES) place.replaceChildren(problem(error));
        }
        if (!hasEnded) schedule();
    }

    function accept(job, result, error) {
        id = job.id;
        misses = 0;
        if (job.status === 'cancelled') showCancelled(job);
        else if (job.status === 'failed') fail(new Error(error ?? 'The job failed without a message.'));
        else if (job.status === 'completed') complete(result ?? {});
        else showProgress(job);
    }

    function showProgress({ status, progress }) {
        cancel.hidden = false;
        if (progress?.total > 0) {
            bar.max = progress.total;
            bar.value = Math.min(progress.done, progress.total);
        } else bar.removeAttribute('value');
        const text = {
            queued: 'Waiting for a worker…',
            input_required: 'Waiting for your answer to a question in the conversation.',
        }[status];
        say(text ?? progress?.message ?? 'Running…');
    }

    function say(text) {
        message.textContent = text;
        if (Date.now() - spokenAt < SPOKEN_INTERVAL) return;
        spokenAt = Date.now();
        spoken.textContent = text;
    }

    function complete(output) {
        stop();
        showResult(output);
    }

    function showCancelled({ progress }) {
        stop();
        show(el('h1', {}, 'Cancelled'), progress?.message ? status(progress.message) : null);
    }

    function fail(error) {
        stop();
        show(el('h1', {}, 'It did not work'), problem(error));
    }

    function stop() {
        hasEnded = true;
        clearTimeout(timer);
    }

    function cancelJob() {
        run(cancel, place, async () => {
            const { job } = await host.call('jobs_cancel', { id });
            if (!hasEnded && job?.status === 'cancelled') accept(job);
        });
    }

    // The host no longer waits for the call. Its job may continue.
    function interrupted() {
        isInterrupted = true;
        if (!hasEnded) follow();
    }

    return {
        input: begin,
        output: (output) => hasEnded || complete(output),
        // A known job has the last word: the client may only have stopped waiting for it.
        failed: (error) => hasEnded || (id ? follow() : fail(error)),
        cancelled: interrupted,
        teardown: stop,
    };
}
