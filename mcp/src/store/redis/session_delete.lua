-- Deletes a session of a user and its waiting calls. KEYS: session, waiting. ARGV: key prefix of
-- waiting calls, field with the immutable part of the session, user.
-- Returns 1 if the user had the session, otherwise 0; and the field, nil if it did not exist. A
-- session of another user, or with an owner that cannot be read, is not changed.
local field = redis.call('HGET', KEYS[1], ARGV[2])
if field then
    local readable, owner = pcall(function() return cjson.decode(string.sub(field, 2)).user end)
    if not readable or owner ~= ARGV[3] then
        return {0, false}
    end
end
for _, call in ipairs(redis.call('HVALS', KEYS[2])) do
    redis.call('DEL', ARGV[1] .. call)
end
redis.call('DEL', KEYS[2])
return {redis.call('DEL', KEYS[1]), field}
