-- Stores a call that waits for answers, and appends its questions to its stream.
-- KEYS: meta, log, running call, waiting call, waiting.
-- ARGV: request, run, TTL in ms, lease after the TTL in ms, TTL of a stream in ms, id of the
-- waiting call, stream id, key prefix of questions, the call, maximum number of events, channel,
-- signal, number of questions, maximum bytes of events; then id, tool's key and message of each
-- question; then key and value of each answer so far.
-- Returns 1 if the run is current, otherwise 0.
local field = 'pending:' .. ARGV[1]
local state = redis.call('HGET', KEYS[1], field)
if not state then
    return 0
end
local term, _, written, lost = string.match(state, '(%d+) (%d+) (%d+) (%d+)')
if term ~= ARGV[2] then
    return 0
end
if redis.call('EXISTS', KEYS[4]) == 1 then
    return 1
end
local time = redis.call('TIME')
local lapses = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3] + ARGV[4]
redis.call('HSET', KEYS[1], field, string.format('%s %d %s %s', term, lapses, written, lost))
-- The call is not running, so it must not be run again.
redis.call('DEL', KEYS[3])
local questions = tonumber(ARGV[13])
redis.call('HSET', KEYS[4], 'call', ARGV[9], 'request', ARGV[1], 'stream', ARGV[7],
    'term', term, 'open', questions)
local answers = 15 + 3 * questions
for i = answers, #ARGV, 2 do
    redis.call('HSET', KEYS[4], 'answer:' .. ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[4], ARGV[3])
for i = 15, answers - 1, 3 do
    redis.call('SET', ARGV[8] .. ARGV[i], '1' .. ARGV[6] .. ' ' .. ARGV[i + 1], 'PX', ARGV[3])
    push(KEYS[2], KEYS[1], ARGV[i + 2], ARGV[10], ARGV[14])
end
for i = 1, 2 do
    redis.call('PEXPIRE', KEYS[i], ARGV[3] + ARGV[4] + ARGV[5])
end
redis.call('HSET', KEYS[5], ARGV[1], ARGV[6], 'format', '1')
redis.call('PEXPIRE', KEYS[5], ARGV[3])
redis.call('PUBLISH', ARGV[11], ARGV[12])
return 1
