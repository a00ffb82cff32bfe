-- Appends a message to a standalone stream. KEYS: log, meta, streams.
-- ARGV: message, most events, lifetime in ms, id of the stream, channel, signal,
-- most bytes of events.
redis.call('SADD', KEYS[3], '1' .. ARGV[4])
redis.call('HSET', KEYS[2], 'format', '1')
redis.call('PEXPIRE', KEYS[3], ARGV[3])
push(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
-- The count of events must not end before the events: their numbers only grow.
redis.call('PEXPIRE', KEYS[2], ARGV[3] + 60000)
redis.call('PUBLISH', ARGV[5], ARGV[6])
