-- Takes a question and notes its answer. KEYS: ask, waiting.
-- ARGV: beginning of a call's key, the answer.
-- Answers nothing (no such question), an empty list (others are open), or the whole call.
local ask = redis.call('GETDEL', KEYS[1])
if not ask then
    return false
end
local space = string.find(ask, ' ', 1, true)
local call = ARGV[1] .. string.sub(ask, 1, space - 1)
if redis.call('EXISTS', call) == 0 then
    return false
end
redis.call('HSET', call, 'answer:' .. string.sub(ask, space + 1), ARGV[2])
if redis.call('HINCRBY', call, 'open', -1) > 0 then
    return {}
end
local whole = redis.call('HGETALL', call)
redis.call('HDEL', KEYS[2], redis.call('HGET', call, 'request'))
redis.call('DEL', call)
return whole
