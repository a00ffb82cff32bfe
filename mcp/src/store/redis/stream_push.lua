-- Prepended to the scripts that append to a stream. Appends a message, and drops the oldest events
-- above the limits; the last event is always kept.
local function push(log, meta, message, most_events, most_bytes)
    local number = redis.call('HINCRBY', meta, 'last', 1)
    local last = number .. '-0'
    redis.call('XADD', log, last, 'm', message)
    local bytes = redis.call('HINCRBY', meta, 'bytes', #message)
    while bytes > tonumber(most_bytes) or redis.call('XLEN', log) > tonumber(most_events) do
        local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
        if oldest[1] == last then
            break
        end
        redis.call('XDEL', log, oldest[1])
        bytes = redis.call('HINCRBY', meta, 'bytes', -#oldest[2][2])
    end
end
