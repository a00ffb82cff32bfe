-- Forgets every stream of a session. KEYS: streams. ARGV: beginnings of the keys of log and meta.
for _, stream in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    redis.call('DEL', ARGV[1] .. stream, ARGV[2] .. stream)
end
redis.call('DEL', KEYS[1])
