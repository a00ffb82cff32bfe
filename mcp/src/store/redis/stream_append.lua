-- Appends a message that answers nothing. KEYS: log, meta, streams.
-- ARGV: message, most events, lifetime in ms, whether the stream is standalone, its id, channel, signal.
if ARGV[4] == '1' then
    redis.call('SADD', KEYS[3], ARGV[5])
    redis.call('PEXPIRE', KEYS[3], ARGV[3])
elseif tonumber(redis.call('HGET', KEYS[2], 'open') or '0') <= 0 then
    return
end
local number = redis.call('HINCRBY', KEYS[2], 'last', 1)
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], number .. '-0', 'm', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
-- The count of events must not end before the events: their numbers only grow.
local longer = tonumber(ARGV[3]) + 60000
if redis.call('PTTL', KEYS[2]) < longer then
    redis.call('PEXPIRE', KEYS[2], longer)
end
redis.call('PUBLISH', ARGV[6], ARGV[7])
