-- Answers a pending request, or drops it. KEYS: log, meta.
-- ARGV: field of the request, message or '', most events, lifetime in ms, channel, signal.
if redis.call('HDEL', KEYS[2], ARGV[1]) == 0 then
    return
end
redis.call('HINCRBY', KEYS[2], 'open', -1)
if ARGV[2] ~= '' then
    local number = redis.call('HINCRBY', KEYS[2], 'last', 1)
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], number .. '-0', 'm', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[4]) + 60000)
redis.call('PUBLISH', ARGV[5], ARGV[6])
