-- Creates the stream of a POST. KEYS: meta, streams.
-- ARGV: key prefix of running calls, lease in ms, TTL in ms, stream id; then each request and the
-- stored call, or '' if it must not be run again.
local time = redis.call('TIME')
local lapses = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2])
redis.call('HSET', KEYS[1], 'format', '1', 'open', (#ARGV - 4) / 2)
for i = 5, #ARGV, 2 do
    -- Run, time when the lease lapses, number of the last message, number of losses.
    redis.call('HSET', KEYS[1], 'pending:' .. ARGV[i], string.format('0 %d 0 0', lapses))
    if ARGV[i + 1] ~= '' then
        redis.call('HSET', ARGV[1] .. ARGV[i], 'call', ARGV[i + 1])
        redis.call('PEXPIRE', ARGV[1] .. ARGV[i], ARGV[3])
    end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2] + ARGV[3])
redis.call('SADD', KEYS[2], '1' .. ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
