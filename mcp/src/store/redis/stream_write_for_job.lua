-- Appends a message of a job. KEYS: log, meta.
-- ARGV: request, run, message, maximum number of events, TTL in ms, channel, signal, maximum bytes
-- of events; with a mark also its name and value: appended only if the value exceeds the last one.
-- Returns 1 if the run is current, otherwise 0.
local state = redis.call('HGET', KEYS[2], 'pending:' .. ARGV[1])
if not state or string.match(state, '%d+') ~= ARGV[2] then
    return 0
end
if ARGV[9] then
    local mark = 'mark:' .. ARGV[1] .. ':' .. ARGV[9]
    local before = redis.call('HGET', KEYS[2], mark)
    if before and tonumber(ARGV[10]) <= tonumber(before) then
        return 1
    end
    redis.call('HSET', KEYS[2], mark, ARGV[10])
end
push(KEYS[1], KEYS[2], ARGV[3], ARGV[4], ARGV[8])
-- TTLs are only extended: a lease may require longer ones.
for i, lifetime in ipairs({ tonumber(ARGV[5]), ARGV[5] + 60000 }) do
    if redis.call('PTTL', KEYS[i]) < lifetime then
        redis.call('PEXPIRE', KEYS[i], lifetime)
    end
end
redis.call('PUBLISH', ARGV[6], ARGV[7])
return 1
