-- Removes a waiting call. Its questions have no effect without it, and expire.
-- KEYS: waiting. ARGV: key prefix of waiting calls, request.
-- Returns false (no such call), or its stream and run.
local id = redis.call('HGET', KEYS[1], ARGV[2])
if not id then
    return false
end
redis.call('HDEL', KEYS[1], ARGV[2])
local found = redis.call('HMGET', ARGV[1] .. id, 'stream', 'term')
redis.call('DEL', ARGV[1] .. id)
return found
