-- Ends a session with its waiting calls. KEYS: session, waiting. ARGV: beginning of a call's key.
-- Answers whether the session was there.
for _, call in ipairs(redis.call('HVALS', KEYS[2])) do
    redis.call('DEL', ARGV[1] .. call)
end
redis.call('DEL', KEYS[2])
return redis.call('DEL', KEYS[1])
