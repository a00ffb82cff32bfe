-- Drops a running request of a session, whoever its writer is. KEYS: streams.
-- ARGV: request, beginnings of the keys of metas and running calls, channel, then the signal of a
-- stream in two parts, between which its id stands.
for _, stream in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    stream = string.sub(stream, 2) -- after the format
    local meta = ARGV[2] .. stream
    -- A job is cancelled by whoever knows of it.
    if redis.call('HEXISTS', meta, 'job:' .. ARGV[1]) == 0
        and redis.call('HDEL', meta, 'pending:' .. ARGV[1]) == 1
    then
        redis.call('HINCRBY', meta, 'open', -1)
        redis.call('DEL', ARGV[3] .. stream .. ':' .. ARGV[1])
        redis.call('PUBLISH', ARGV[4], ARGV[5] .. stream .. ARGV[6])
    end
end
