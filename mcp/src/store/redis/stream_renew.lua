-- Renews the lease of a run, which thereby counts as started, by the clock of Redis. KEYS: meta, log, running call, jobs, streams.
-- ARGV: request, run, lease in ms, TTL after the lease in ms.
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
redis.call('HSET', KEYS[1], field, string.format('%s %d %s %s', term, lapses, written, lost))
redis.call('HDEL', KEYS[3], 'unstarted')
local lifetime = ARGV[3] + ARGV[4]
for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) < lifetime then
        redis.call('PEXPIRE', key, lifetime)
    end
end
return 1
