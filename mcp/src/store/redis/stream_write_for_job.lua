-- Appends a message of a job. KEYS: log, meta.
-- ARGV: request, which run of it, message, most events, lifetime in ms, channel, signal; for a marked
-- message also the name of the mark and its value, which must be more than any before.
-- Answers whether the call is still the writer's.
local state = redis.call('HGET', KEYS[2], 'pending:' .. ARGV[1])
if not state or string.match(state, '%d+') ~= ARGV[2] then
    return 0
end
if ARGV[8] then
    local mark = 'mark:' .. ARGV[1] .. ':' .. ARGV[8]
    local before = redis.call('HGET', KEYS[2], mark)
    if before and tonumber(ARGV[9]) <= tonumber(before) then
        return 1
    end
    redis.call('HSET', KEYS[2], mark, ARGV[9])
end
local number = redis.call('HINCRBY', KEYS[2], 'last', 1)
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], number .. '-0', 'm', ARGV[3])
-- What was promised to be kept for longer stays so.
for i, lifetime in ipairs({ tonumber(ARGV[5]), ARGV[5] + 60000 }) do
    if redis.call('PTTL', KEYS[i]) < lifetime then
        redis.call('PEXPIRE', KEYS[i], lifetime)
    end
end
redis.call('PUBLISH', ARGV[6], ARGV[7])
return 1
