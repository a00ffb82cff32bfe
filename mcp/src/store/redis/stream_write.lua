-- Appends a message of a call, unless it is there already. KEYS: log, meta.
-- ARGV: request, which run of it, number of the message, message, most events, lifetime in ms,
-- channel, signal, most bytes of events. Answers whether the call is still the writer's.
local field = 'pending:' .. ARGV[1]
local state = redis.call('HGET', KEYS[2], field)
if not state then
    return 0
end
local term, lapses, written, lost = string.match(state, '(%d+) (%d+) (%d+) (%d+)')
if term ~= ARGV[2] then
    return 0
end
if tonumber(ARGV[3]) <= tonumber(written) then
    return 1
end
redis.call('HSET', KEYS[2], field, table.concat({ term, lapses, ARGV[3], lost }, ' '))
push(KEYS[1], KEYS[2], ARGV[4], ARGV[5], ARGV[9])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
-- The count of events must not end before the events: their numbers only grow.
local longer = ARGV[6] + 60000
if redis.call('PTTL', KEYS[2]) < longer then
    redis.call('PEXPIRE', KEYS[2], longer)
end
redis.call('PUBLISH', ARGV[7], ARGV[8])
return 1
