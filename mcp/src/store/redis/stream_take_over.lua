-- Takes over the calls of a stream whose leases have lapsed. KEYS: meta.
-- ARGV: key prefix of running calls, lease in ms.
-- Returns the request, the new run, the number of losses and the call hash of each.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
    local request = string.match(fields[i], '^pending:(.*)$')
    if request then
        local term, lapses, _, lost = string.match(fields[i + 1], '(%d+) (%d+) (%d+) (%d+)')
        if now >= tonumber(lapses) then
            term, lost = term + 1, lost + 1
            local state = string.format('%d %d 0 %d', term, now + tonumber(ARGV[2]), lost)
            redis.call('HSET', KEYS[1], fields[i], state)
            table.insert(taken, { request, term, lost, redis.call('HGETALL', ARGV[1] .. request) })
        end
    end
end
return taken
