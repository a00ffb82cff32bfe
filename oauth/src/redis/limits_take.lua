-- Advances the time up to which a key has used its quota (GCRA). KEYS: the key's time.
-- ARGV: format, now, the time that the requests take from the quota, the window; in microseconds.
-- Returns how far the key's time would be ahead of now, in microseconds.
local now = tonumber(ARGV[2])
local used = now
local kept = redis.call('GET', KEYS[1])
if kept and string.sub(kept, 1, 1) == ARGV[1] then
    used = math.max(used, tonumber(string.sub(kept, 2)) or 0)
end
used = used + tonumber(ARGV[3])
local ahead = used - now
if ahead <= tonumber(ARGV[4]) then
    -- Microseconds since 1970 have 16 digits, which a double represents exactly.
    local text = ARGV[1] .. string.format('%.0f', used)
    redis.call('SET', KEYS[1], text, 'PX', math.max(1, math.ceil(ahead / 1000)))
end
return ahead
