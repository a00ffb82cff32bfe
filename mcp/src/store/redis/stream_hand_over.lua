-- Hands a request over to a job. KEYS: meta, log, running call, jobs.
-- ARGV: request, run, lease in ms, TTL after the lease in ms, job id, stream id.
-- Returns 1 if the run is current, otherwise 0.
local field = 'pending:' .. ARGV[1]
local state = redis.call('HGET', KEYS[1], field)
if not state then
    return 0
end
local term, _, written, lost = string.match(state, '(%d+) (%d+) (%d+) (%d+)')
if term ~= ARGV[2] then
    return 0
end
local time = redis.call('TIME')
local lapses = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], field, string.format('%s %d %s %s', term, lapses, written, lost),
    'job:' .. ARGV[1], ARGV[5])
-- The job runs the call, so no instance may run it again.
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[4], ARGV[1], table.concat({ ARGV[6], term, ARGV[5] }, ' '), 'format', '1')
local lifetime = ARGV[3] + ARGV[4]
for _, key in ipairs({ KEYS[1], KEYS[2], KEYS[4] }) do
    if redis.call('PTTL', key) < lifetime then
        redis.call('PEXPIRE', key, lifetime)
    end
end
return 1
