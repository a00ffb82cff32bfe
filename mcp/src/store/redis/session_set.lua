-- Sets a field of a session that is still there. KEYS: session. ARGV: field, value.
if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
