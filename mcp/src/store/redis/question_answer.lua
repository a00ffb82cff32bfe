-- Removes a question and stores its answer. The last answer starts the next run of the call.
-- KEYS: ask, waiting.
-- ARGV: key prefixes of waiting calls, metas and running calls; the answer; lease in ms; TTL of a
-- running call in ms.
-- The run counts as started when its lease is renewed (stream_renew.lua).
-- Returns false (no such question), an empty list (other questions are open), or the call hash (the
-- call is running, and the caller holds its lease).
local ask = redis.call('GETDEL', KEYS[1])
if not ask then
    return false
end
local space = string.find(ask, ' ', 1, true)
local call = ARGV[1] .. string.sub(ask, 2, space - 1) -- without the format
if redis.call('EXISTS', call) == 0 then
    return false
end
redis.call('HSET', call, 'answer:' .. string.sub(ask, space + 1), ARGV[4])
if redis.call('HINCRBY', call, 'open', -1) > 0 then
    return {}
end
local request, stream, suspended = unpack(redis.call('HMGET', call, 'request', 'stream', 'term'))
redis.call('HDEL', KEYS[2], request)
local meta, field = ARGV[2] .. stream, 'pending:' .. request
local state = redis.call('HGET', meta, field)
local term, _, _, lost = string.match(state or '', '(%d+) (%d+) (%d+) (%d+)')
if term ~= suspended then
    redis.call('DEL', call)
    return false
end
local time = redis.call('TIME')
local lapses = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[5]
redis.call('HSET', meta, field, string.format('%d %d 0 %s', term + 1, lapses, lost))
redis.call('HSET', call, 'term', string.format('%d', term + 1), 'unstarted', '1')
local running = ARGV[3] .. stream .. ':' .. request
redis.call('RENAME', call, running)
redis.call('PEXPIRE', running, ARGV[6])
return redis.call('HGETALL', running)
