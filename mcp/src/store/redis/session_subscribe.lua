-- Lets a session follow a resource, up to a number of them and of bytes of their URIs. KEYS: session.
-- ARGV: the field of the resource, fields of a session that follows nothing, most subscriptions,
-- beginning of the field of a resource, most bytes. Answers whether the session follows it.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
    return 1
end
if redis.call('HLEN', KEYS[1]) - tonumber(ARGV[2]) >= tonumber(ARGV[3]) then
    return 0
end
local bytes = #ARGV[1] - #ARGV[4]
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, #ARGV[4]) == ARGV[4] then
        bytes = bytes + #field - #ARGV[4]
    end
end
if bytes > tonumber(ARGV[5]) then
    return 0
end
redis.call('HSET', KEYS[1], ARGV[1], '')
return 1
