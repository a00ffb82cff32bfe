-- Takes a waiting call away. KEYS: waiting. ARGV: beginning of a call's key, the client's id of it.
-- Answers nothing, or the whole call. Its questions expire by themselves: without the call they are
-- worth nothing.
local id = redis.call('HGET', KEYS[1], ARGV[2])
if not id then
    return false
end
redis.call('HDEL', KEYS[1], ARGV[2])
local whole = redis.call('HGETALL', ARGV[1] .. id)
redis.call('DEL', ARGV[1] .. id)
return whole
