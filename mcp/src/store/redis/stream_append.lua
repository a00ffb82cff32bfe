-- Appends a message to a standalone stream. KEYS: log, meta, streams.
-- ARGV: message, maximum number of events, TTL in ms, stream id, channel, signal, maximum bytes of
-- events.
redis.call('SADD', KEYS[3], '1' .. ARGV[4])
redis.call('HSET', KEYS[2], 'format', '1')
redis.call('PEXPIRE', KEYS[3], ARGV[3])
push(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
-- The meta hash must outlive the events: it holds the last event number, which only increases.
redis.call('PEXPIRE', KEYS[2], ARGV[3] + 60000)
redis.call('PUBLISH', ARGV[5], ARGV[6])
