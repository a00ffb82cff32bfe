-- Appends a message of a call, unless its number was appended already. KEYS: log, meta.
-- ARGV: request, run, message number, message, maximum number of events, TTL in ms, channel,
-- signal, maximum bytes of events.
-- Returns 1 if the run is current, otherwise 0.
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
-- The meta hash must outlive the events: it holds the last event number, which only increases.
local longer = ARGV[6] + 60000
if redis.call('PTTL', KEYS[2]) < longer then
    redis.call('PEXPIRE', KEYS[2], longer)
end
redis.call('PUBLISH', ARGV[7], ARGV[8])
return 1
