-- Lets a session follow a resource, up to a number of them. KEYS: session.
-- ARGV: the field of the resource, fields of a session that follows nothing, most subscriptions.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0
    and redis.call('HLEN', KEYS[1]) - tonumber(ARGV[2]) >= tonumber(ARGV[3])
then
    return 0
end
redis.call('HSET', KEYS[1], ARGV[1], '')
return 1
