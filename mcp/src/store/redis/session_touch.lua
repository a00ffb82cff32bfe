-- Notes that a session is used. KEYS: the user's sessions. ARGV: session, lifetime of an idle session
-- in ms.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('ZADD', KEYS[1], 'XX', now, '1' .. ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
