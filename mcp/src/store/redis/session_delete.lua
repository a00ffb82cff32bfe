-- Deletes a session and its waiting calls. KEYS: session, waiting. ARGV: key prefix of waiting
-- calls, field to return.
-- Returns 1 if the session existed, otherwise 0; and the field, nil if it did not exist.
local field = redis.call('HGET', KEYS[1], ARGV[2])
for _, call in ipairs(redis.call('HVALS', KEYS[2])) do
    redis.call('DEL', ARGV[1] .. call)
end
redis.call('DEL', KEYS[2])
return {redis.call('DEL', KEYS[1]), field}
