-- Releases the fetch lock, unless it has passed to another instance. KEYS: lock. ARGV: name.
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
