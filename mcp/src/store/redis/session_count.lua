-- Adds a session to the set of its user, and removes the longest idle ones above the limit.
-- KEYS: the user's sessions. ARGV: session, session TTL in ms, maximum number of sessions.
-- Returns the removed sessions.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[2] * 1000))
redis.call('ZADD', KEYS[1], string.format('%.0f', now), '1' .. ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local excess = redis.call('ZCARD', KEYS[1]) - ARGV[3]
local evicted = {}
if excess > 0 then
    local popped = redis.call('ZPOPMIN', KEYS[1], excess)
    for i = 1, #popped, 2 do
        evicted[#evicted + 1] = string.sub(popped[i], 2)
    end
end
return evicted
