-- Renews the lease of a writer, by the server's clock. KEYS: meta, log.
-- ARGV: lease in ms, lifetime after it in ms.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'lease', now + tonumber(ARGV[1]))
local lifetime = tonumber(ARGV[1]) + tonumber(ARGV[2])
for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) < lifetime then
        redis.call('PEXPIRE', key, lifetime)
    end
end
