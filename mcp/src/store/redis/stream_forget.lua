-- Deletes all streams of a session. KEYS: streams.
-- ARGV: key prefixes of logs, metas and running calls.
for _, stream in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    stream = string.sub(stream, 2) -- without the format
    for _, field in ipairs(redis.call('HKEYS', ARGV[2] .. stream)) do
        local request = string.match(field, '^pending:(.*)$')
        if request then
            redis.call('DEL', ARGV[3] .. stream .. ':' .. request)
        end
    end
    redis.call('DEL', ARGV[1] .. stream, ARGV[2] .. stream)
end
redis.call('DEL', KEYS[1])
