-- Appends the response to a pending request, or removes the request without one.
-- KEYS: log, meta, running call, jobs.
-- ARGV: request, run, message or '', maximum number of events, TTL in ms, channel, signal, maximum
-- bytes of events.
local field = 'pending:' .. ARGV[1]
local state = redis.call('HGET', KEYS[2], field)
if not state or string.match(state, '%d+') ~= ARGV[2] then
    return
end
redis.call('HDEL', KEYS[2], field, 'job:' .. ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('HINCRBY', KEYS[2], 'open', -1)
if ARGV[3] ~= '' then
    push(KEYS[1], KEYS[2], ARGV[3], ARGV[4], ARGV[8])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5] + 60000)
redis.call('PUBLISH', ARGV[6], ARGV[7])
