-- Updates the last use of a session, if it is in the set. KEYS: the user's sessions.
-- ARGV: session, session TTL in ms.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('ZADD', KEYS[1], 'XX', now, '1' .. ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
