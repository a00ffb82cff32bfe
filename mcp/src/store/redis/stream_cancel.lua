-- Removes a running request of a session, whichever run is current. KEYS: streams.
-- ARGV: request, key prefixes of metas and running calls, channel, and the signal in two parts,
-- between which the stream id is inserted.
for _, stream in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    stream = string.sub(stream, 2) -- without the format
    local meta = ARGV[2] .. stream
    -- A request that a job answers is cancelled through the job.
    if redis.call('HEXISTS', meta, 'job:' .. ARGV[1]) == 0
        and redis.call('HDEL', meta, 'pending:' .. ARGV[1]) == 1
    then
        redis.call('HINCRBY', meta, 'open', -1)
        redis.call('DEL', ARGV[3] .. stream .. ':' .. ARGV[1])
        redis.call('PUBLISH', ARGV[4], ARGV[5] .. stream .. ARGV[6])
    end
end
