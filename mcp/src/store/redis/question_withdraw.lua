-- Takes a waiting call away. KEYS: waiting. ARGV: beginning of a waiting call's key, request.
-- Answers nothing, or stream and run. Its questions expire by themselves: without the call they are
-- worth nothing.
local id = redis.call('HGET', KEYS[1], ARGV[2])
if not id then
    return false
end
redis.call('HDEL', KEYS[1], ARGV[2])
local found = redis.call('HMGET', ARGV[1] .. id, 'stream', 'term')
redis.call('DEL', ARGV[1] .. id)
return found
