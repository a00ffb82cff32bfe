-- Answers the pending requests of a writer whose lease has lapsed. KEYS: log, meta.
-- ARGV: most events, lifetime in ms, channel, signal, then field and message of each request.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('HGET', KEYS[2], 'lease')
if not lease or now < tonumber(lease) then
    return
end
for i = 5, #ARGV, 2 do
    if redis.call('HDEL', KEYS[2], ARGV[i]) == 1 then
        redis.call('HINCRBY', KEYS[2], 'open', -1)
        local number = redis.call('HINCRBY', KEYS[2], 'last', 1)
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], number .. '-0', 'm', ARGV[i + 1])
    end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[2]) + 60000)
redis.call('PUBLISH', ARGV[3], ARGV[4])
