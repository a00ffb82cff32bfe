-- Sets a field of a session if the session exists. KEYS: session. ARGV: field, value.
if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
