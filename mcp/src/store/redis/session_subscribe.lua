-- Adds a subscription to a session, within the limits. KEYS: session.
-- ARGV: field of the resource, number of fields of a session without subscriptions, maximum number
-- of subscriptions, prefix of the fields of subscriptions, maximum total bytes of the URIs.
-- Returns 1 if the session is subscribed, otherwise 0.
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
